"""The one door to `ultralytics`, which is AGPL-3.0: nothing outside imports it, so it can be left out or replaced.

Behind the door nothing phones home: no DNS probe, no usage events, no hub sync, no third-party loggers, and no package
is installed behind the user's back.
"""

from __future__ import annotations

import atexit
import logging
import os
import shutil
import tempfile
from functools import cache
from types import ModuleType

from models_py.errors import DuckspectError

_INTEGRATIONS = ("sync", "clearml", "comet", "dvc", "mlflow", "raytune", "tensorboard", "wandb", "vscode_msg")


@cache
def ultralytics() -> ModuleType:
    """Import ultralytics with everything off that talks to the network; raises a sentence if it is not installed."""
    os.environ.setdefault("YOLO_OFFLINE", "true")
    os.environ.setdefault("YOLO_AUTOINSTALL", "false")
    os.environ.setdefault("YOLO_VERBOSE", "false")
    if "YOLO_CONFIG_DIR" not in os.environ:
        os.environ["YOLO_CONFIG_DIR"] = folder = tempfile.mkdtemp(prefix="duckspect-yolo-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    threads = os.environ.get("OMP_NUM_THREADS")
    try:
        import ultralytics as package
    except ImportError as error:
        raise DuckspectError(
            f"YOLO models need the package ultralytics (AGPL-3.0), which is not installed: {error}. "
            "Install it with `pip install ultralytics`, or choose a torchvision detector."
        ) from error
    if threads is None:  # it sets one thread, for every process that we start
        os.environ.pop("OMP_NUM_THREADS", None)
    logging.getLogger("ultralytics").setLevel(logging.ERROR)
    package.settings.update(dict.fromkeys(_INTEGRATIONS, False))
    return package
