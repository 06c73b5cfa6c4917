"""What training is made of, whatever the task: data, augmentation, the loop, its checkpoints and its reports."""

from models_py.training._augment import Augment
from models_py.training._checkpoint import last_epoch, read_tensors, write_tensors
from models_py.training._data import Data, Sample, class_mask, read_image, stack
from models_py.training._loop import Lesson, fit
from models_py.training._predict import image_rates, judge
from models_py.training._report import Counted, Report, Silent, StoppedError, counting, no_progress

__all__ = [
    "Augment",
    "Counted",
    "Data",
    "Lesson",
    "Report",
    "Sample",
    "Silent",
    "StoppedError",
    "class_mask",
    "counting",
    "fit",
    "image_rates",
    "judge",
    "last_epoch",
    "no_progress",
    "read_image",
    "read_tensors",
    "stack",
    "write_tensors",
]
