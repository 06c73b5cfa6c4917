"""Turn samples into rows: read and hash the image, read its header, read and check the labels. Runs in worker threads.

Nothing here raises because of a bad file: an unreadable image or a wrong label becomes a row of `raw.rejected_files`,
and everything else of the sample is still loaded.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from models_py.errors import ImageError, IncompleteImageError
from models_py.images import ImageFacts, ImageLimits, probe
from models_py.images.regions import is_empty_mask
from models_py.ingest.known_files import KnownFile
from models_py.ingest.masks import MaskStore
from models_py.ingest.new_rows import NewRows, Row
from models_py.ingest.shapes import bounds_in_image, box_in_pixels, polygon_in_pixels
from models_py.layouts import GOOD, FileStat, Label, Layout, Reject, Sample
from models_py.times import TimeLimits


@dataclass(frozen=True, slots=True)
class ExaminationContext:
    """What is the same for all samples of one load: the layout, the known files, limits and options."""

    layout: Layout
    known: Mapping[str, KnownFile]
    masks: MaskStore
    free_names: Mapping[str, str] = field(default_factory=dict)
    limits: ImageLimits = field(default_factory=ImageLimits)
    times: TimeLimits = field(default_factory=TimeLimits)
    source: str = ""
    line_id: str | None = None
    station_id: str | None = None
    product_type: str | None = None
    classes: frozenset[str] = frozenset()
    patience: float = 0.0
    again: bool = False

    def first_uri(self, uri: str) -> str | None:
        """The name for the ids of a file if it is not its URI: it moved here, or another file moved away from here."""
        entry = self.known.get(uri)
        return self.free_names.get(uri) if entry is None else entry.first_uri

    def name_of(self, uri: str) -> str:
        """The name from which the ids of a file are made."""
        return self.first_uri(uri) or uri


@dataclass(frozen=True, slots=True)
class UsableImage:
    """An image that can be used."""

    uri: str
    image_id: str
    facts: ImageFacts


def examine(samples: Sequence[Sample], context: ExaminationContext) -> NewRows:
    """Turn samples into rows; an error in one becomes a reject and does not affect the others."""
    rows = NewRows(samples=len(samples))
    for sample in samples:
        _examine_one(sample, context, rows)
    return rows


def _examine_one(sample: Sample, context: ExaminationContext, rows: NewRows) -> None:
    image = _read_image(sample.image, context, rows)
    if image is not None:
        if sample.inspected:
            inspection = describe(sample, image.uri, image.image_id, context)
            rows.inspections[inspection[0]] = inspection
            _reject_time(sample, image.uri, context, rows)
        role = "image" if sample.inspected else "template"
        _add_labels(image, role, sample.image, _checked_labels(sample, image, context, rows), context, rows)
    if sample.template is not None:
        template = _read_image(sample.template, context, rows)
        if template is not None:
            _add_labels(template, "template", sample.template, [_GOOD_ROW], context, rows)
        if image is not None and template is not None:
            rows.templates[image.image_id, template.image_id] = (image.image_id, template.image_id, template.uri)


_GOOD_ROW: Row = ("class", GOOD, *[None] * 10)
"""The label of a template, in the form of `_check`."""


def _read_image(path: str, context: ExaminationContext, rows: NewRows) -> UsableImage | None:
    """Read an image and its header, or take its facts from `raw.files` if it is unchanged.

    A bad image is rejected, and recorded in `raw.files` so that it is not read again.
    """
    tree = context.layout.tree
    uri = tree.uri(path)
    stat = tree.stat(path)
    if stat is None:
        rows.reject(uri, tree.why_not(path))
        return None
    entry = context.known.get(uri)
    if entry and entry.sha256 and entry.facts and entry.is_current(stat) and not context.again:
        return UsableImage(uri, entry.sha256, entry.facts)
    try:
        uri.encode()
        return _open_image(path, uri, stat, context, rows)
    except UnicodeEncodeError:
        rows.reject(uri, "the file's name is not valid UTF-8; rename it")
        return None
    except IncompleteImageError as error:
        if may_still_grow(stat, context.patience):
            return None
        reason = str(error)
    except ImageError as error:
        reason = str(error)
    except OSError as error:
        reason = f"unreadable: {error.strerror or error}"
    rows.reject(uri, reason)
    first = context.first_uri(uri)
    rows.files[uri] = (uri, stat.size, stat.version, "rejected", None, context.layout.name, None, first)
    return None


def _open_image(path: str, uri: str, stat: FileStat, context: ExaminationContext, rows: NewRows) -> UsableImage:
    if stat.size > context.limits.size_bytes:
        raise ImageError(f"oversized: {stat.size:,} bytes, more than the limit of {context.limits.size_bytes:,}")
    data = context.layout.tree.read(path)
    rows.bytes_read += len(data)
    facts = probe(data, context.limits)
    if facts.frames > 1:
        rows.several_frames.append(uri)
    image_id = hashlib.sha256(data).hexdigest()
    source = context.source or context.layout.name
    rows.images.setdefault(
        image_id, (image_id, uri, source, facts.format, facts.width, facts.height, facts.channels, len(data))
    )
    return UsableImage(uri, image_id, facts)


def may_still_grow(stat: FileStat, patience: float) -> bool:
    """Whether a file changed so recently that it, or a file that belongs to it, may still be being copied."""
    return stat.modified_ns is not None and time.time() - stat.modified_ns / 1e9 < patience


def describe(sample: Sample, uri: str, image_id: str, context: ExaminationContext) -> Row:
    """The row of an inspection; its last two columns say whether unit and time were stated or come from the file."""
    inspection_id = hashlib.sha256(f"{context.name_of(uri)}\0{image_id}".encode()).hexdigest()
    captured = _captured_at(sample, context)
    if captured is not None and context.times.refusal(captured) is not None:
        captured = None
    return (
        inspection_id,
        sample.unit_id or sample.image.rsplit(".", 1)[0],
        image_id,
        uri,
        sample.line_id or context.line_id,
        sample.station_id or context.station_id,
        _product(sample, context),
        captured and (captured - _EPOCH) // timedelta(microseconds=1),
        json.dumps(sample.attributes, default=str, sort_keys=True) if sample.attributes else None,
        sample.unit_id is not None and context.layout.states_units,
        sample.captured_at is not None and captured is not None,
    )


def _product(sample: Sample, context: ExaminationContext) -> str | None:
    """The product: a manifest's column wins over --product; a folder's name does not."""
    if context.layout.states_units:
        return sample.product_type or context.product_type
    return context.product_type or sample.product_type


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _captured_at(sample: Sample, context: ExaminationContext) -> datetime | None:
    """When the picture was taken: the stated time, else the file's modification time."""
    stat = context.layout.tree.stat(sample.image)
    if sample.captured_at or sample.has_bad_time or stat is None or stat.modified_ns is None:
        return sample.captured_at
    try:
        return _EPOCH + timedelta(microseconds=stat.modified_ns // 1000)
    except OverflowError:
        return (datetime.max if stat.modified_ns > 0 else datetime.min).replace(tzinfo=UTC)


def _reject_time(sample: Sample, uri: str, context: ExaminationContext, rows: NewRows) -> None:
    """Add a reject if the time of an inspection is outside the limits; the inspection is loaded without a time."""
    moment = _captured_at(sample, context)
    if moment is None or (refusal := context.times.refusal(moment)) is None:
        return
    if sample.captured_at is None:
        rows.reject(uri, f"{refusal}, the time of the file")
    else:
        where = sample.sources[0] if sample.sources else sample.image
        rows.reject(context.layout.tree.uri(where), f"{sample.image}: {refusal}")


def _checked_labels(sample: Sample, image: UsableImage, context: ExaminationContext, rows: NewRows) -> list[Row]:
    """Read and check a sample's labels.

    A row has the columns of raw.annotations from kind to annotated_at, then the hash of the mask, then the polygon.
    """
    tree = context.layout.tree
    checked: list[Row] = []
    where = sample.sources[0] if sample.sources else sample.image
    try:
        labels = list(context.layout.labels(sample))
    except OSError as error:
        rows.reject(tree.uri(where), f"unreadable: {error.strerror or error}")
        return checked
    for label in labels:
        if isinstance(label, Reject):
            rows.reject(tree.uri(label.path), label.reason)
            continue
        if label.annotated_at and (refusal := context.times.refusal(label.annotated_at, "annotated_at")):
            rows.reject(tree.uri(where), f"{label.label} for {sample.image}: {refusal}; the label is loaded without")
            label = label._replace(annotated_at=None)
        try:
            checked.append(_check(label, image, context))
        except ImageError as error:
            rows.reject(tree.uri(label.mask or where), f"{label.label} for {sample.image}: {error}")
        except OSError as error:
            rows.reject(tree.uri(label.mask or where), f"unreadable: {error.strerror or error}")
    return checked


def _check(label: Label, image: UsableImage, context: ExaminationContext) -> Row:
    if context.classes and label.label not in context.classes:
        raise ImageError(f"unknown class {label.label!r}; the classes are {', '.join(sorted(context.classes))}")
    polygon = polygon_in_pixels(label, image.facts) if label.polygon else None
    box = bounds_in_image(polygon, image.facts) if polygon else box_in_pixels(label, image.facts)
    mask_uri, mask_id = _mask(label, image.facts, context) if label.kind == "mask" else (None, None)
    annotated = int(label.annotated_at.timestamp() * 1e6) if label.annotated_at else None
    return (label.kind, label.label, *box, mask_uri, label.split, label.annotator, annotated, mask_id, polygon)


def _mask(label: Label, facts: ImageFacts, context: ExaminationContext) -> tuple[str, str]:
    tree = context.layout.tree
    if label.mask_png is not None:
        data, uri = label.mask_png, context.masks.keep(label.mask_png)
    else:
        assert label.mask is not None  # noqa: S101 - a mask label has one or the other
        uri = tree.uri(label.mask)
        if tree.stat(label.mask) is None:
            raise ImageError(f"its mask {uri} is {tree.why_not(label.mask)}")
        data = tree.read(label.mask)
    mask = probe(data, context.limits)
    if (mask.width, mask.height) != (facts.width, facts.height):
        raise ImageError(
            f"its mask is {mask.width} x {mask.height} pixels, but the image is {facts.width} x {facts.height}"
        )
    if label.label != GOOD and is_empty_mask(data, mask.format):
        raise ImageError("its mask is empty, so it shows no defect")
    return uri, hashlib.sha256(data).hexdigest()


def _add_labels(
    image: UsableImage, role: str, path: str, labels: list[Row], context: ExaminationContext, rows: NewRows
) -> None:
    """Append a label set, unless it is the one that is valid already, and record the file as read."""
    stat = context.layout.tree.stat(path)
    label_set = None
    if labels:
        # Column 6 is the mask's URI. Rows without a polygon are hashed without that column, as they were before it
        # existed: a reload must find the label sets of older warehouses.
        named = [(*row[:6], context.name_of(row[6]), *row[7:]) if row[6] else row for row in labels]
        hashed = [row if row[-1] else row[:-1] for row in named]
        label_set = hashlib.sha256(repr((context.name_of(image.uri), image.image_id, hashed)).encode()).hexdigest()[:32]
        entry = context.known.get(image.uri)
        if entry is None or entry.label_set_id != label_set:
            now = time.time_ns() // 1000
            for number, (*label, annotated_at, _, polygon) in enumerate(labels):
                key = f"{label_set}-{number}"
                row = (key, image.image_id, image.uri, *label, annotated_at or now, label_set, polygon)
                rows.annotations[key] = row
    if stat is not None:
        rows.files[image.uri] = (
            image.uri,
            stat.size,
            stat.version,
            role,
            image.image_id,
            context.layout.name,
            label_set,
            context.first_uri(image.uri),
        )
