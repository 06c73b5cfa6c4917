"""What several tests need: drawn pictures, a DeepPCB tree, an open warehouse, the command line as a process."""

import io
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from costs import MARKERS, needs
from PIL import Image
from waiting import PATIENCE

from udfs import connect

# First weights are never downloaded by a test that did not ask for it; commands started by tests inherit this.
os.environ["HF_HUB_OFFLINE"] = "1"


def pytest_configure(config):
    for name, meaning in MARKERS.items():
        config.addinivalue_line("markers", f"{name}: {meaning}")


def pytest_collection_modifyitems(items):
    for item in items:
        for name in needs(item):
            item.add_marker(name)


def picture(seed: int, size: tuple[int, int] = (64, 48), format: str = "jpeg") -> bytes:
    noise = np.random.default_rng(seed).integers(0, 256, (size[1], size[0]), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, format)
    return buffer.getvalue()


def write_board(root: Path, board: str, seed: int, boxes: str, template: int | None = None) -> Path:
    """Lay out one board as DeepPCB does; its group is the first five digits."""
    group = root / f"PCBData/group{board[:5]}"
    images, labels = group / board[:5], group / f"{board[:5]}_not"
    images.mkdir(parents=True, exist_ok=True)
    labels.mkdir(exist_ok=True)
    test = images / f"{board}_test.jpg"
    test.write_bytes(picture(seed))
    if template is not None:
        (images / f"{board}_temp.jpg").write_bytes(picture(template))
    (labels / f"{board}.txt").write_text(boxes)
    return test


@pytest.fixture
def boards(tmp_path):
    """Three boards: one pair with two boxes, one alone, one clean."""
    root = tmp_path / "boards"
    write_board(root, "00041000", 1, "5 5 20 20 1\n30 10 40 30 6\n", template=11)
    write_board(root, "00041001", 2, "1 2 3 4 2\n")
    write_board(root, "00041002", 3, "")
    (root / "PCBData/trainval.txt").write_text("group00041/00041/00041000.jpg group00041/00041_not/00041000.txt\n")
    (root / "PCBData/test.txt").write_text("group00041/00041/00041001.jpg group00041/00041_not/00041001.txt\n")
    return root


@pytest.fixture
def warehouse(tmp_path):
    """In a folder of its own, so that files beside that folder are called by their absolute paths."""
    (tmp_path / "house").mkdir()
    return tmp_path / "house/w.duckdb"


@pytest.fixture
def con(warehouse):
    with connect(warehouse) as con:
        yield con


def duckspect(*arguments: str, env: dict[str, str] | None = None, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run the command line as a user does."""
    return subprocess.run(
        [sys.executable, "-m", "udfs.cli", *arguments],
        capture_output=True,
        text=True,
        input=stdin,
        timeout=PATIENCE,
        env={**os.environ, **(env or {})},
        check=False,
    )


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """The served warehouse, made once; read it, or take `served` to change it."""
    from served import build_served

    return build_served(tmp_path_factory.mktemp("served"))


@pytest.fixture
def served(built, tmp_path):
    """A copy of the served warehouse with its models; the images stay where they are."""
    for name in ("w.duckdb", "w_files"):
        (shutil.copytree if (built.parent / name).is_dir() else shutil.copy)(built.parent / name, tmp_path / name)
    with connect(tmp_path / "w.duckdb") as con:
        yield con


@pytest.fixture(scope="session")
def built_plant(tmp_path_factory):
    """The warehouse of a small plant with models, built by dbt once; take `plant_copy` to change it."""
    from trained import train_plant

    warehouse = train_plant(tmp_path_factory.mktemp("plant"))
    result = duckspect("build", "-w", str(warehouse))
    assert result.returncode == 0, result.stderr
    return warehouse


@pytest.fixture
def plant_copy(built_plant, tmp_path):
    """A copy of the built plant."""
    from trained import copy_warehouse

    return copy_warehouse(built_plant, tmp_path)
