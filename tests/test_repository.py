"""Promises about the repository itself: who imports whom, what the documents say, what talks to the network."""

import ast
import graphlib
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from models_py.layouts import layouts
from udfs.cli import reference

ROOT = Path(__file__).parents[1]
LAYERS = ("models_py", "udfs", "dashboard")
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for layer in LAYERS
    for path in (ROOT / layer).rglob("*.py")
}


def imported(file):
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.split(".")[0]


@pytest.mark.parametrize("layer", LAYERS)
def test_imports_point_down_only(layer):
    above = set(LAYERS[LAYERS.index(layer) + 1 :]) | {"tests", "benchmarks"}
    for file in (ROOT / layer).rglob("*.py"):
        assert not above & set(imported(file)), file


def modules(path):
    """The modules of ours that a file imports, inside functions too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (MODULES[alias.name] for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                found = MODULES.get(f"{node.module}.{alias.name}") or MODULES.get(node.module)
                if found is not None:
                    yield found


def room(path):
    """The folder below a layer that a file is in; a loose module is a room of its own."""
    return "/".join(path.relative_to(ROOT).parts[:2])


@pytest.mark.parametrize("place", [lambda path: str(path.relative_to(ROOT)), room], ids=["files", "folders"])
def test_nothing_imports_in_a_circle(place):
    graph = {}
    for file in MODULES.values():
        graph.setdefault(place(file), set()).update(place(other) for other in modules(file) if other != file)
    for name, others in graph.items():
        others.discard(name)
    list(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError with the names


@pytest.mark.parametrize("layer", ["models_py", "udfs"])
def test_a_layer_has_few_loose_modules_and_every_folder_says_what_belongs_there(layer):
    loose = [path.name for path in (ROOT / layer).glob("*.py") if path.name != "__init__.py"]
    assert len(loose) <= 6, loose
    for package in (ROOT / layer).rglob("__init__.py"):
        assert (ast.get_docstring(ast.parse(package.read_text())) or "").endswith("."), package


def test_no_two_classes_have_one_name():
    places = {}
    for file in MODULES.values():
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name.lstrip("_").lower(), []).append(f"{file.relative_to(ROOT)}: {node.name}")
    assert not {name: found for name, found in places.items() if len(found) > 1}


def test_only_one_module_imports_ultralytics():
    users = [file for layer in LAYERS for file in (ROOT / layer).rglob("*.py") if "ultralytics" in set(imported(file))]
    assert {file.parent for file in users} == {ROOT / "models_py/yolo"}


@pytest.mark.parametrize(
    "module",
    [
        "udfs",
        "udfs.cli",
        "udfs.session.session",
        "udfs.functions.register",
        "udfs.functions.ibis_functions",
        "models_py.layouts",
        "models_py.ingest",
        "models_py.plant",
        "models_py.model.architectures",
        "models_py.task",
    ],
)
def test_torch_is_not_imported(module):
    code = f"import {module}, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.slow  # it imports ultralytics
def test_ultralytics_comes_without_telemetry_downloads_or_installs():
    code = (
        "import os\n"
        "from models_py.yolo import ultralytics\n"
        "given = os.environ.get('OMP_NUM_THREADS')\n"
        "package = ultralytics()\n"
        "from ultralytics.utils import AUTOINSTALL, ONLINE\n"
        "from ultralytics.utils.events import events\n"
        "assert not package.settings['sync'] and not AUTOINSTALL and not ONLINE and not events.enabled\n"
        "assert os.environ.get('OMP_NUM_THREADS') == given, 'processes that we start would have one thread'\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_dbt_and_streamlit_send_no_statistics():
    assert "send_anonymous_usage_stats: false" in (ROOT / "dbt_project/dbt_project.yml").read_text()
    assert tomllib.loads((ROOT / ".streamlit/config.toml").read_text())["browser"]["gatherUsageStats"] is False


@pytest.mark.parametrize("name", list(reference.pages()))
def test_the_generated_documents_are_up_to_date(name):
    assert (ROOT / "docs" / name).read_text() == reference.pages()[name], "run `make docs`"


def test_the_documents_name_every_layout_and_the_readme_the_licence_of_ultralytics():
    ingesting = (ROOT / "docs/ingesting.md").read_text()
    for layout in layouts():
        assert f"`{layout.name}`" in ingesting
    text = (ROOT / "README.md").read_text()
    assert "AGPL-3.0" in text
    assert "models_py/yolo" in text


def test_the_page_on_models_in_sql_lists_the_functions():
    shown = (
        (ROOT / "docs/sql.md").read_text().partition("<!-- functions -->\n")[2].partition("\n<!-- /functions -->")[0]
    )
    assert shown == reference.function_table()


def test_the_lock_names_versions_and_no_host():
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    assert len(lines) > 100
    assert all("==" in line and "://" not in line and "@" not in line for line in lines)


def test_ci_runs_the_commands_of_the_readme_and_the_workflow_runs_ci():
    shown = (ROOT / "README.md").read_text().partition("## Development")[2].partition("```sh\n")[2].partition("```")[0]
    assert (ROOT / ".ci/run").read_text().endswith(f"fi\n{shown}")
    jobs = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())["jobs"]
    assert [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step] == [".ci/run"]


def test_the_page_on_the_demo_shows_what_it_prints(tmp_path):
    from conftest import duckspect

    shown = (ROOT / "docs/demo.md").read_text().partition("<!-- demo -->\n```\n")[2].partition("\n```")[0]
    result = duckspect("demo", "--no-train", "-w", str(tmp_path / "warehouse.duckdb"))
    printed = [line.rstrip() for line in result.stdout.replace(f"{tmp_path}/", "").splitlines() if line.strip()]
    assert len(shown.splitlines()) > 10
    assert shown in "\n".join(printed)


def test_the_image_is_made_of_what_the_wheel_is_made_of_and_names_no_host():
    steps = (ROOT / "Dockerfile").read_text()
    copied = {word for line in re.findall(r"^COPY (?!--from)(.+) \S+$", steps, re.M) for word in line.split()}
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    parts = {name.split("/")[0] for name in project["force-include"]}
    assert copied == kept >= {"pyproject.toml", "README.md", "LICENSE", *project["packages"], *parts}
    for name in ("Dockerfile", "compose.yaml", "requirements.lock", "Makefile", ".ci/run", ".github/workflows/ci.yml"):
        assert "://" not in (ROOT / name).read_text(), name


def test_the_containers_share_the_volume_with_the_warehouse_and_the_commands_socket():
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text())
    assert all(service["volumes"] == ["plant:/plant"] for service in compose["services"].values())
    steps = (ROOT / "Dockerfile").read_text()
    assert "DUCKSPECT_WAREHOUSE=/plant/" in steps
    assert "XDG_RUNTIME_DIR=/plant " in steps
