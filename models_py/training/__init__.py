"""What training is made of, whatever the task: data, augmentation, the loop, its checkpoints and its reports."""

from models_py.training._loop import Lesson, fit
from models_py.training._report import Report, Silent, StoppedError

__all__ = ["Lesson", "Report", "Silent", "StoppedError", "fit"]
