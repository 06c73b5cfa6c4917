"""Commands that run in the server of a warehouse: one at a time, for their caller, held up by nobody who is silent."""

import io
import os
import socket
import sys
import threading
import zipfile
from functools import partial
from pathlib import Path

import duckdb
import pytest
from typer.main import get_command
from waiting import PATIENCE

from models_py.errors import DuckspectError
from udfs.cli import run
from udfs.cli.app import app
from udfs.serving.handover import CommandServer, _place, hand_over

run_for = partial(run.run_for, get_command(app))


class Commands:
    """A server's control that runs what the test wants: `held` commands wait until they are let go."""

    def __init__(self, warehouse, **options):
        self.warehouse = warehouse
        self.ran = []
        self.begun, self.let_go, self.is_busy = threading.Event(), threading.Event(), threading.Event()
        self.control = CommandServer(warehouse, self.run, **options)

    def run(self, arguments, folder, out, err):
        self.ran.append((list(arguments), folder))
        out.write(f"{arguments[-1]} is done\n")
        err.write("a note\n")
        if arguments[-1] == "held":
            self.begun.set()
            assert self.let_go.wait(PATIENCE)
        return 3

    def ask(self, word, said=None):
        words = []

        def write(name, text):
            words.append((name, text))
            if "is busy" in text:
                self.is_busy.set()

        status = hand_over(self.warehouse, ["info", word], write)
        if said is not None:
            said += [words, status]
        return words, status


@pytest.fixture
def commands(warehouse):
    found = Commands(warehouse)
    yield found
    found.let_go.set()
    found.control.close()


def test_a_command_is_told_where_it_was_typed_and_its_words_go_to_its_client(commands, capsys):
    words, status = commands.ask("now")
    assert [word for word in words if word[1]] == [("out", "now is done\n"), ("err", "a note\n")]
    assert status == 3
    assert commands.ran == [(["info", "now"], Path.cwd())]
    assert capsys.readouterr() == ("", "")


def test_a_client_that_says_nothing_holds_up_neither_commands_nor_the_end(commands):
    with socket.socket(socket.AF_UNIX) as silent:
        silent.connect(os.fspath(_place(commands.warehouse)))
        assert commands.ask("now")[1] == 3
        commands.control.close()
    assert hand_over(commands.warehouse, ["info"], lambda *_: None) is None


def test_a_client_that_says_nothing_is_hung_up_on(warehouse):
    commands = Commands(warehouse, patience=0.05)
    with socket.socket(socket.AF_UNIX) as silent:
        silent.connect(os.fspath(_place(warehouse)))
        silent.settimeout(PATIENCE)
        assert silent.recv(100) == b""
    commands.control.close()


@pytest.mark.parametrize("line", [b"nonsense\n", b"[]\n", b'{"arguments": 1, "folder": "/"}\n', b"null\n"])
def test_nonsense_ends_its_connection_alone(commands, line):
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(os.fspath(_place(commands.warehouse)))
        client.sendall(line)
        assert client.recv(100) == b""
    assert commands.ask("now")[1] == 3


def test_a_command_waits_for_the_one_that_runs_and_says_so(commands):
    first, second = [], []
    running = threading.Thread(target=commands.ask, args=("held", first))
    running.start()
    assert commands.begun.wait(PATIENCE)
    waiting = threading.Thread(target=commands.ask, args=("later", second))
    waiting.start()
    assert commands.is_busy.wait(PATIENCE)
    with socket.socket(socket.AF_UNIX) as client:  # one that waits, too, and goes away
        client.connect(os.fspath(_place(commands.warehouse)))
        client.sendall(b'{"arguments": ["info", "given up"], "folder": "/"}\n')
        assert b"The server is busy with `duckspect info held`; this comes next." in client.recv(1000)
    assert len(commands.ran) == 1
    commands.let_go.set()
    running.join(PATIENCE)
    waiting.join(PATIENCE)
    assert first[1] == second[1] == 3
    assert ("err", "The server is busy with `duckspect info held`; this comes next.\n") in second[0]
    assert [arguments[-1] for arguments, _ in commands.ran] == ["held", "later"]


def test_a_command_that_waits_when_the_server_stops_is_sent_away(commands):
    said = []
    running = threading.Thread(target=commands.ask, args=("held",))
    running.start()
    assert commands.begun.wait(PATIENCE)
    with socket.socket(socket.AF_UNIX) as client, client.makefile("rb") as answers:
        client.connect(os.fspath(_place(commands.warehouse)))
        client.sendall(b'{"arguments": ["info", "later"], "folder": "/"}\n')
        said.append(answers.readline())
        closing = threading.Thread(target=commands.control.close)
        closing.start()
        while _place(commands.warehouse).exists():
            closing.join(0.01)
        commands.let_go.set()
        said += answers.readlines()
        closing.join(PATIENCE)
    running.join(PATIENCE)
    assert b"is stopping" in said[1]
    assert said[2] == b'["exit", 1]\n'
    assert len(commands.ran) == 1


def test_a_watch_is_not_handed_over(commands):
    with pytest.raises(DuckspectError, match="without --watch"):
        hand_over(commands.warehouse, ["ingest", "x", "--watch"], lambda *_: None)


def test_relative_paths_are_the_callers_and_nothing_of_this_process_changes(served, tmp_path, capsys, monkeypatch):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    before = sys.stdout, sys.stderr
    seen = []

    class Watching(io.StringIO):
        def write(self, text):
            seen.append((os.getcwd(), sys.stdout is before[0], sys.stderr is before[1]))
            return super().write(text)

    out, err = Watching(), Watching()
    assert run_for(["models", "export", "kind", "kind.zip", "-w", "w.duckdb"], tmp_path, out, err) == 0, err.getvalue()
    assert zipfile.is_zipfile(tmp_path / "kind.zip")
    assert run_for(["models", "import", "kind.zip", "again", "-w", "w.duckdb"], tmp_path, out, err) == 0, err.getvalue()
    (tmp_path / "more").mkdir()
    assert run_for(["ingest", "more", "-w", "w.duckdb"], tmp_path, out, err) in (0, 1)
    assert run_for(["ingest", "missing", "-w", "w.duckdb"], tmp_path, out, err) == 1
    assert f"nothing at '{tmp_path}/missing'" in err.getvalue()
    assert run_for(["models", "show", "nothing", "-w", "w.duckdb"], tmp_path, out, err) == 1
    assert run_for(["models", "show", "-w", "w.duckdb"], tmp_path, out, err) == 1  # who typed it was told before
    assert "again@1 is registered" in out.getvalue()
    assert "Registered: again, area" in err.getvalue()
    assert set(seen) == {(str(elsewhere), True, True)}
    assert capsys.readouterr() == ("", "")
    assert not list(elsewhere.iterdir())


def test_an_error_beside_the_command_reaches_its_client_in_a_sentence(warehouse):
    def fail(arguments, folder, out, err):
        raise duckdb.IOException("the journal cannot be written")

    control, words = CommandServer(warehouse, fail), []
    assert hand_over(warehouse, ["info"], lambda *said: words.append(said)) == 1
    assert ("err", "Error: IOException: the journal cannot be written\n") in words
    assert hand_over(warehouse, ["info"], lambda *said: words.append(said)) == 1  # its turn is over
    control.close()


def test_an_export_to_onnx_leaves_the_output_of_its_process_alone(served, tmp_path, capfd):
    out, err = io.StringIO(), io.StringIO()
    assert run_for(["models", "export", "kind", "kind.onnx", "-w", "w.duckdb"], tmp_path, out, err) == 0, err.getvalue()
    assert "kind@1 is in" in out.getvalue()
    assert capfd.readouterr() == ("", "")


def test_a_command_that_names_no_warehouse_is_for_the_one_that_is_served(served, tmp_path, monkeypatch):
    monkeypatch.setenv("DUCKSPECT_WAREHOUSE", "another.duckdb")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    out, err = io.StringIO(), io.StringIO()
    assert run_for(["models", "list"], elsewhere, out, err, warehouse=tmp_path / "w.duckdb") == 0, err.getvalue()
    assert "kind" in out.getvalue()
    named = ["models", "list", "-w", "named.duckdb"]
    assert run_for(named, elsewhere, out, err, warehouse=tmp_path / "w.duckdb") == 1
    assert f"{elsewhere}/named.duckdb" in err.getvalue()
