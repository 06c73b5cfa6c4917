"""Environments of their own: what is installed here, without some of it."""

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

from waiting import PATIENCE

ROOT = Path(__file__).parents[1]
# An editable install leaves a models_py with the SQL there, and a .pth file that names this repository.
_OURS = ("duckspect", "_duckspect", "__editable__", "_editable", "models_py", "udfs", "dashboard")


def make_environment(folder: Path, without: str = "") -> Path:
    """An environment with links to all packages that are installed here but ours and one more; its Python."""
    venv.create(folder, symlinks=True)
    (target,) = folder.glob("lib/python*/site-packages")
    left_out = (*_OURS, without) if without else _OURS
    for source in {sysconfig.get_paths()[name] for name in ("purelib", "platlib")}:
        for item in Path(source).iterdir():
            if not item.name.lower().startswith(left_out) and not (target / item.name).exists():
                (target / item.name).symlink_to(item)
    return folder / "bin/python"


def run_in(python: Path, *arguments: str, folder: Path, path: str = "") -> subprocess.CompletedProcess[str]:
    """Run that Python in a folder, with nothing of this repository's but what `path` names."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DUCKSPECT_", "PYTHON"))}
    return subprocess.run(
        [str(python), *arguments],
        cwd=folder,
        env=kept | ({"PYTHONPATH": path} if path else {}),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def install(wheel: Path, python: Path) -> None:
    """Install a wheel without what it depends on, and without a network."""
    (target,) = python.parents[1].glob("lib/python*/site-packages")
    linked = [name for name in ("models_py", "udfs", "dashboard") if (target / name).is_symlink()]
    assert not linked, f"{linked}: pip would write through these links into the environment that they lead to"
    command = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps", "--no-index", str(wheel)]
    subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE)
