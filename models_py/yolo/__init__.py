"""All that uses `ultralytics`, which is AGPL-3.0: only this folder imports it, so that it can be left out or replaced.

It is imported with everything off that talks to the network (DNS probes, usage events, hub sync, third-party loggers)
or installs packages. Where the process had imported it before, the settings of that import hold.
"""

from __future__ import annotations

import atexit
import logging
import os
import shutil
import sys
import tempfile
from functools import cache
from types import ModuleType

from models_py.errors import DuckspectError
from models_py.yolo.process_state import borrowed_process

_INTEGRATIONS = ("sync", "clearml", "comet", "dvc", "mlflow", "raytune", "tensorboard", "wandb", "vscode_msg")


@cache
def ultralytics() -> ModuleType:
    """Import ultralytics with everything off that talks to the network; raises a sentence if it is not installed."""
    is_ours = "ultralytics" not in sys.modules
    try:
        with borrowed_process(ultralytics_environment()):
            import ultralytics as package
            import ultralytics.nn.tasks
    except ImportError as error:
        raise DuckspectError(
            f"YOLO models need the package ultralytics (AGPL-3.0), which is not installed: {error}. "
            "Install it with `pip install ultralytics`, or choose a torchvision detector."
        ) from error
    if is_ours:
        logging.getLogger("ultralytics").setLevel(logging.ERROR)
        if "YOLO_CONFIG_DIR" in os.environ:  # the user's own file of settings is left as it is
            dict.update(package.settings, dict.fromkeys(_INTEGRATIONS, False))
        else:
            package.settings.update(dict.fromkeys(_INTEGRATIONS, False))
    return package


@cache
def _folder() -> str:
    """A folder for its settings, until this process ends."""
    folder = tempfile.mkdtemp(prefix="duckspect-yolo-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def ultralytics_environment() -> dict[str, str]:
    """The variables under which it is imported, here and in the processes that a training starts."""
    ours = {"YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false", "YOLO_VERBOSE": "false"}
    if "YOLO_CONFIG_DIR" not in os.environ:
        ours["YOLO_CONFIG_DIR"] = _folder()
    return {name: os.environ.get(name, value) for name, value in ours.items()}
