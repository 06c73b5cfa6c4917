"""Write reviews and promotions: in this process, or through the server if one has the warehouse."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from models_py.errors import BusyWarehouseError, DuckspectError
from models_py.registry import compile_version, is_to_be_compiled, promote, rollback
from udfs import connect
from udfs.builds.build import publish
from udfs.review import Review, record
from udfs.serving.handover import hand_over


def save_review(warehouse: Path, review: Review) -> list[str]:
    """Record a review; return who else reviewed the same inspection today."""
    arguments = ["review", review.inspection_id, "--verdict", review.verdict, "--reviewer", review.reviewer]
    arguments += ["--label", review.label] if review.label else []
    arguments += ["--model", f"{review.model}@{review.version}"] if review.model else []
    arguments += ["--box", ",".join(map(str, review.box))] if review.box else []
    arguments += ["--new-label"] if review.is_new_label else []
    return _done(warehouse, lambda: record(warehouse, review), arguments) or []


def promote_version(warehouse: Path, reference: str, force: str | None) -> None:
    """Promote a version through the gate, or with a reason despite it, and publish the copy for readers."""

    def work() -> None:
        with connect(warehouse) as con:
            version, _ = promote(con, reference, force=force)
        publish(warehouse)  # if it fails, the promotion stays: it is committed
        with connect(warehouse) as con:
            if is_to_be_compiled(con, version):
                compile_version(con, version)

    arguments = ["models", "promote", reference, *(["--force", force] if force else [])]
    _done(warehouse, work, arguments, ["publish"])


def roll_back(warehouse: Path, name: str, reason: str) -> None:
    """Make the previous champion the champion again."""

    def work() -> None:
        with connect(warehouse) as con:
            rollback(con, name, reason=reason)
        publish(warehouse)

    _done(warehouse, work, ["models", "rollback", name, "--reason", reason], ["publish"])


def _done(warehouse: Path, work: Callable[[], list[str] | None], *commands: list[str]) -> list[str] | None:
    try:
        return work()
    except BusyWarehouseError as busy:
        lines: list[str] = []
        for command in commands:
            arguments = [*command, "--warehouse", str(warehouse)]
            status = hand_over(warehouse, arguments, lambda _, text: lines.append(text))
            if status is None:
                raise busy from None
            if status:
                raise DuckspectError("".join(lines).removeprefix("Error: ").strip()) from None
        return None
