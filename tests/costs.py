"""What a test needs that takes long, read from its code, so that nobody has to remember a marker.

`make check` leaves out all tests that have one of these markers. A test gets them by the fixtures that it
asks for, and by the functions that it, its fixtures and the tests' helpers call.
"""

import inspect
from pathlib import Path
from types import CodeType

MARKERS = {
    "training": "trains a model, or asks models that were trained for it",
    "dbt": "builds the tables with dbt",
    "server": "starts a server",
    "browser": "looks at pages in a browser",
    "slow": "takes more than a few seconds for another reason, which is written beside the marker",
}
FIXTURES = {"built": "training", "built_plant": "dbt", "browser": "browser"}
CALLS = {
    "train": "training",
    "carry_out": "training",
    "tune": "training",
    "Study": "training",
    "compile_version": "slow",
    "export_onnx": "slow",
    "build_served": "training",
    "train_plant": "training",
    "run_build": "dbt",
    "Server": "server",
    "serving": "server",
}
COMMANDS = {"train": "training", "tune": "training", "demo": "training", "build": "dbt", "serve": "server"}
_HERE = Path(__file__).parent


def needs(item) -> set[str]:
    """The markers of a collected test."""
    fixtures = (found[-1].func for found in item._fixtureinfo.name2fixturedefs.values())
    names: set[str] = set()
    texts: set[str] = set()
    seen: set[object] = set()
    for function in (item.function, *fixtures):
        _collect(inspect.unwrap(function), names, texts, seen)
    found = {FIXTURES[name] for name in item.fixturenames if name in FIXTURES}
    found |= {CALLS[name] for name in names & CALLS.keys()}
    if "duckspect" in names or "udfs.cli" in texts:
        found |= {COMMANDS[text] for text in texts & COMMANDS.keys()}
    return found


def _collect(function, names, texts, seen) -> None:
    """Add what a function of the tests mentions, itself or in other functions of the tests that it calls."""
    if not _is_ours(function) or function in seen:
        return
    seen.add(function)
    members = vars(function).values() if inspect.isclass(function) else [function]
    for member in filter(inspect.isfunction, members):
        of_member = _mentions(member.__code__)
        names |= of_member[0]
        texts |= of_member[1]
        for name in of_member[0] & member.__globals__.keys():
            _collect(member.__globals__[name], names, texts, seen)


def _is_ours(function) -> bool:
    if not (inspect.isfunction(function) or inspect.isclass(function)):
        return False
    module = inspect.getmodule(function)
    return module is not None and Path(getattr(module, "__file__", None) or "/").parent == _HERE


def _mentions(code: CodeType) -> tuple[set[str], set[str]]:
    """The names and texts of a function and of the functions inside it."""
    names, texts = set(code.co_names), {constant for constant in code.co_consts if isinstance(constant, str)}
    for constant in code.co_consts:
        if isinstance(constant, tuple):
            texts |= {word for word in constant if isinstance(word, str)}
        elif isinstance(constant, CodeType):
            inner_names, inner_texts = _mentions(constant)
            names, texts = names | inner_names, texts | inner_texts
    return names, texts
