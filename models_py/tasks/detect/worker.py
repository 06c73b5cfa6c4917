"""One of the processes that train YOLO on several GPUs: `torch.distributed.run` starts this module for each."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from models_py.progress import SilentReport
from models_py.tasks.detect.processes import FileReport
from models_py.tasks.detect.task import measure_network
from models_py.yolo.trainer import train

if __name__ == "__main__":
    job = Path(sys.argv[1])
    is_first = os.environ.get("RANK", "0") == "0"
    train(job, FileReport(job) if is_first else SilentReport(), measure_network)
