"""Which version answers while others are loaded: a load that hangs holds up its own model's successor alone."""

import asyncio
import contextlib
import hashlib
import os
import threading

import pytest
from waiting import wait_for

from models_py.errors import RegistryError
from models_py.registry import find, promote, set_operating_point
from udfs import cursor, interrupt
from udfs.serving.current_models import CurrentModels, UnavailableModelError
from udfs.session.session import Session


class HeldModel:
    """Version 2 of a model of the served warehouse, whose tensors come through a pipe that the test holds."""

    def __init__(self, con, name):
        version = find(con, name)
        self._tensors = version.folder.parent / "2" / "model.safetensors"
        self._kept = self._tensors.with_name("kept.safetensors")
        self._tensors.parent.mkdir()
        for file in version.folder.iterdir():
            os.link(file, self._tensors.parent / file.name)
        spec = self._tensors.with_name("model.json")
        text = spec.read_bytes() + b"\n"  # another artifact, with the same tensors
        spec.unlink()
        spec.write_bytes(text)
        self._tensors.rename(self._kept)
        os.mkfifo(self._tensors)
        self._pipe = None
        con.execute(
            "insert into ml.model_versions by name select * replace (2 as version, $1 as artifact_sha256, "
            "replace(artifact_uri, $2, $3) as artifact_uri, now() as created_at) "
            "from ml.model_versions where name = $4",
            [hashlib.sha256(text).hexdigest(), f"{name}/1", f"{name}/2", name],
        )
        promote(con, f"{name}@2", force="test")

    def wait_for_its_load(self):
        """Return once the load has begun to read; whoever gives up before would leave nobody for `release`."""

        def opened():
            with contextlib.suppress(OSError):  # nobody reads yet
                return os.open(self._tensors, os.O_WRONLY | os.O_NONBLOCK)

        self._pipe = wait_for(opened)
        os.set_blocking(self._pipe, True)

    def release(self, data=None):
        """Let the load go on, with the right tensors or with other bytes in their place."""
        with open(self._pipe or self._tensors, "wb") as pipe:  # opens once the load has begun to read
            if data is not None:
                self._kept.unlink()  # it is the file of version 1, too
                self._kept.write_bytes(data)
            self._kept.replace(self._tensors)
            pipe.write(self._tensors.read_bytes())


@pytest.fixture
def lineup(served):
    found = CurrentModels(Session.of(served).runtime(), served)
    yield found
    found.close()


def test_while_a_version_is_loaded_the_one_before_answers_and_so_do_other_models(served, lineup):
    async def check():
        first = await lineup.find("kind")
        held = HeldModel(served, "kind")
        assert await lineup.find("kind") is first
        assert (await lineup.find("box")).version.reference == "box@1"  # loaded while the other is
        assert await lineup.find("kind") is first
        coming = asyncio.create_task(lineup.load("kind"))
        await asyncio.to_thread(held.release)
        assert (await coming).version.reference == "kind@2"
        assert (await lineup.find("kind")).version.reference == "kind@2"

    asyncio.run(check())


def test_sql_answers_with_other_models_while_one_is_loaded(served):
    held = HeldModel(served, "kind")
    waiting = served.cursor()
    answers = []
    reader = threading.Thread(
        target=lambda: answers.append(waiting.execute("select predict(uri, 'kind').version from raw.images").fetchone())
    )
    reader.start()
    assert served.execute("select count(predict(uri, 'box')) from raw.images").fetchone() == (36,)
    assert not answers
    held.release()
    reader.join(60)
    assert answers == [(2,)]


def test_a_query_that_waits_for_a_model_can_be_interrupted(served):
    held = HeldModel(served, "kind")
    waiting, failures = cursor(served), []

    def ask():
        try:
            waiting.execute("select predict(uri, 'kind') from raw.images").fetchall()
        except Exception as error:  # noqa: BLE001 - looked at below
            failures.append(str(error))

    reader = threading.Thread(target=ask)
    reader.start()
    held.wait_for_its_load()
    while reader.is_alive():  # an interrupt before the query has begun is none
        interrupt(waiting)
        reader.join(0.05)
    held.release()
    assert "nterrupt" in failures[0]
    assert served.execute("select predict(uri, 'kind').version from raw.images").fetchone() == (2,)


def test_a_version_that_cannot_be_loaded_leaves_the_one_before(served, lineup):
    async def check():
        first = await lineup.find("kind")
        held = HeldModel(served, "kind")
        assert await lineup.find("kind") is first
        coming = asyncio.create_task(lineup.load("kind"))
        await asyncio.to_thread(held.release, b"something else")
        assert await coming is first
        assert await lineup.find("kind") is first
        assert lineup.broken == ["kind"]
        with pytest.raises(UnavailableModelError, match=r"kind@2 cannot be loaded: .*changed or truncated"):
            await lineup.find("kind@2")
        with pytest.raises(RegistryError, match="Registered"):
            await lineup.find("nothing")

    asyncio.run(check())


def test_a_new_operating_point_holds_at_once_while_another_model_is_loaded(served, lineup):
    async def check():
        await lineup.find("kind")
        box = await lineup.find("box")
        held = HeldModel(served, "kind")
        await lineup.find("kind")
        set_operating_point(served, "box", 0.77, "test")
        assert (await lineup.find("box")).thresholds["*"] == 0.77
        assert (await lineup.find("box")).engine is box.engine
        coming = asyncio.create_task(lineup.load("kind"))
        await asyncio.to_thread(held.release)
        await coming

    asyncio.run(check())
