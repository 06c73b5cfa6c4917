"""Where tensors are computed, how exactly, and on how many threads."""

from __future__ import annotations

import contextlib
import re
from typing import Any

import torch

from models_py.errors import DuckspectError


def find_devices(wanted: str) -> list[torch.device]:
    """Turn `auto`, `cpu`, `cuda`, `0` or `0,1` into devices that exist here."""
    count = torch.cuda.device_count()
    if wanted == "cpu" or (wanted == "auto" and count == 0):
        return [torch.device("cpu")]
    if wanted in ("auto", "cuda") and count:
        return [torch.device("cuda", 0)]
    numbers = [int(number) for number in re.findall(r"\d+", wanted)]
    is_list = re.fullmatch(r"(cuda:)?\d+(,(cuda:)?\d+)*", wanted) and len(set(numbers)) == len(numbers)
    if not is_list and wanted != "cuda":
        raise DuckspectError(f"device: must be auto, cpu, cuda, 0, or 0,1, but is {wanted!r}.")
    if not numbers or max(numbers) >= count:
        raise DuckspectError(f"device: {wanted!r} is not here, this machine has {count} GPUs. Choose auto or cpu.")
    return [torch.device("cuda", number) for number in numbers]


def half(device: torch.device, precision: str) -> bool:
    """Whether to compute in bf16: where asked for, or where the hardware multiplies it faster than fp32."""
    if precision not in ("auto", "fp32", "bf16"):
        raise DuckspectError(f"precision: must be auto, fp32 or bf16, but is {precision!r}.")
    if precision != "auto":
        return precision == "bf16"
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def mixed(device: torch.device, precision: str) -> contextlib.AbstractContextManager[Any]:
    """Autocast to bf16, or nothing."""
    if half(device, precision):
        return torch.autocast(device.type, torch.bfloat16)
    return contextlib.nullcontext()
