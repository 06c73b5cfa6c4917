"""In somebody else's process `udfs` changes nothing that others in it see; in our own programs it may."""

import io
import os
import random
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image, ImageFile

from models_py.errors import ImageError
from models_py.images import ImageLimits
from models_py.images.decode import decode, decode_mask
from models_py.images.pillow import open_image
from models_py.training.train import train

STATE = """
import logging, os, random, signal, sys, threading, warnings
import cv2, duckdb, numpy as np, torch
import sklearn.decomposition, sklearn.metrics, torch._dynamo  # their import sets variables and filters of their own
from PIL import Image, ImageFile

def in_a_new_thread(ask):
    found = []
    thread = threading.Thread(target=lambda: found.append(ask()))
    thread.start()
    thread.join()
    return found[0]

def state():
    kind = duckdb.DuckDBPyConnection
    return {
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "streams": (sys.stdin, sys.stdout, sys.stderr),
        "hooks": (sys.excepthook, threading.excepthook),
        "warnings": list(warnings.filters),
        "root logger": (list(logging.root.handlers), logging.root.level, logging.root.manager.disable),
        "signals": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)],
        "torch": (torch.get_num_threads(), in_a_new_thread(torch.get_num_threads), torch.is_grad_enabled(),
                  torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.deterministic, torch.save,
                  str(torch._tensor_str.PRINT_OPTS), torch.get_default_dtype()),
        "generators": (random.getstate(), str(np.random.get_state())),
        "numpy": np.get_printoptions(),
        "opencv": (cv2.getNumThreads(), cv2.useOptimized(), cv2.imread, cv2.imwrite),
        "pillow": (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, Image.open),
        "duckdb": {name: getattr(kind, name) for name in dir(kind) if name != "__doc__"},
    }
"""
SCORES = (
    STATE
    + """
with duckdb.connect() as con:
    duckdb_threads = con.execute("select current_setting('threads')").fetchone()
before = state()
import udfs
con = udfs.connect(sys.argv[1])
assert con.execute("select current_setting('threads')").fetchone() == duckdb_threads
for name in ("kind", "box", "area", "odd"):
    assert con.execute(f"select count(predict(image, '{name}').model) from parts").fetchone()[0] > 0, name
con.execute("select any_value(image_info(image)), any_value(draw(image, [])) from parts").fetchall()
after = state()
changed = {name: (before[name], after[name]) for name in before if before[name] != after[name]}
assert not changed, changed
assert type(con) is duckdb.DuckDBPyConnection
cursor = udfs.cursor(con)
udfs.interrupt(cursor)
assert udfs.connect(sys.argv[1], threads=1).execute("select current_setting('threads')").fetchone() == (1,)
"""
)
PREPARED = (
    STATE
    + """
from udfs.session.host import prepare_process
prepare_process()
prepare_process()
assert str(warnings.filters).count("PIL") == 1
import udfs
con = udfs.connect(sys.argv[1])
con.execute("select any_value(image_info(image)) from parts").fetchall()
assert cv2.getNumThreads() == 1
assert con.execute("select current_setting('threads')").fetchone()[0] >= 1
assert duckdb.DuckDBPyConnection.interrupt.__wrapped__
"""
)


def run(code, *arguments):
    command = [sys.executable, "-c", code, *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "3"}  # a number that nobody else would choose
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert result.returncode == 0, result.stderr


def test_scoring_in_a_notebook_leaves_its_process_as_it_was(served):
    file = served.execute("select path from duckdb_databases() where database_name = current_database()").fetchone()[0]
    served.close()
    run(SCORES, file)
    run(PREPARED, file)


def test_training_leaves_the_generators_of_its_process_as_they_were(served):
    def generators():
        return random.getstate(), str(np.random.get_state()), torch.get_rng_state().tolist()

    before = generators()
    train(
        served,
        name="mean",
        task="classify",
        query="select image, label from parts",
        options={"epochs": 1, "image_size": 32, "weights": "none"},
    )
    assert generators() == before


@pytest.mark.parametrize("format", ["bmp", "gif", "tiff"])
def test_the_limit_of_pixels_is_ours_and_not_pillows(monkeypatch, format):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    buffer = io.BytesIO()
    Image.new("P", (90, 60), 7).save(buffer, format)
    assert decode(buffer.getvalue()).shape == (3, 60, 90)
    assert decode_mask(buffer.getvalue()).shape == (60, 90)
    with pytest.raises(ImageError, match="oversized: 90 x 60 is 5,400 pixels, more than the limit of 5,399"):
        decode(buffer.getvalue(), ImageLimits(pixels=5399))
    assert Image.MAX_IMAGE_PIXELS == 100


def test_a_damaged_file_is_not_filled_up_where_pillow_is_told_to(monkeypatch):
    buffer = io.BytesIO()
    Image.effect_noise((50, 40), 90).save(buffer, "bmp")
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.raises(ImageError, match=r"Set PIL\.ImageFile\.LOAD_TRUNCATED_IMAGES = False"):
        decode(buffer.getvalue())
    with pytest.raises(ImageError, match="LOAD_TRUNCATED_IMAGES"):
        open_image(buffer.getvalue(), "bmp")
