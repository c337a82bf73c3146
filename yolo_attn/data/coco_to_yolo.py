"""Convert a COCO JSON to a YOLO data set, or to a split of one, and say what became of its images and boxes."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import DataError
from ..messages import counted, joined
from . import SPLITS
from .coco_reading import BadEntry, Image, Reading, read_coco
from .coco_writing import bad_boxes, cells, present_data, splits_in, write_splits

if TYPE_CHECKING:
    from rich.console import Group

SHOWN = 20  # bad images and boxes in the summary; the CSV has all


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """The result of :func:`from_coco`.

    Attributes:
        data: The data YAML.
        split: The new split.
        names: Class names, in label order.
        images: Number of images.
        empty: Number of images without a box.
        boxes: Number of boxes in the labels.
        crowd: Number of crowd boxes. They are in the COCO JSON, where the evaluation ignores them, not in the labels.
        clipped: Number of boxes that exceeded their image by at most one pixel and were clipped.
        links: Number of images per kind: ``hard link``, ``symlink`` or ``copy``.
        bad: The images and boxes that were left out.
        bad_file: The same as CSV; None if there are none.
        notes: Further remarks.
        warnings: Why the data set is probably not what its author wanted.
    """

    data: Path
    split: str
    names: list[str]
    images: int
    empty: int
    boxes: int
    crowd: int
    clipped: int
    links: dict[str, int]
    bad: list[BadEntry]
    bad_file: Path | None
    notes: list[str]
    warnings: list[str]


def divide_coco(
    instances: Path, images: Path, out: Path, *, split: str, seed: int = 0, progress: bool = True
) -> list[Conversion]:
    """Convert a COCO JSON to a YOLO data set whose splits get parts of the images.

    The images are shuffled by their contents, so the same images give the same splits. Copies of an image are in one
    split.

    Args:
        instances: The COCO JSON.
        images: The folder that the ``file_name`` entries are relative to.
        out: The data set's folder, which must be new or empty.
        split: The parts of train, val and, if there is a third, test, such as ``0.8/0.1/0.1``.
        seed: Another seed gives another division.
        progress: Show a progress bar.

    Returns:
        A result for each split.

    Raises:
        DataError: As :func:`from_coco`; also if ``split`` is no division, or a part gets no image.
    """
    parts = _parts(split)
    if out.exists() and any(out.iterdir() if out.is_dir() else [out]):
        raise DataError(f"{out} exists; --split {split} makes all splits, so name a new folder")
    reading = read_coco(instances, images, progress=progress)
    groups: dict[str, list[Image]] = {}
    for image in reading.images:
        content = hashlib.sha256(f"{seed}".encode() + image.source.read_bytes()).hexdigest()
        groups.setdefault(content, []).append(image)
    divided: dict[str, list[Image]] = {name: [] for name in parts}
    position = {id(image): place for place, image in enumerate(reading.images)}
    for _, group in sorted(groups.items()):
        # the split that lacks most of its part
        name = max(parts, key=lambda name: parts[name] * len(reading.images) - len(divided[name]))
        divided[name] += group
    if empty := [name for name, of_split in divided.items() if not of_split]:
        raise DataError(f"--split {split}: {len(reading.images)} images leave none for {joined(empty)}")
    readings = {}
    for name, of_split in divided.items():
        order = sorted(of_split, key=lambda image: position[id(image)])
        readings[name] = replace(reading, images=order)
        reading = replace(reading, bad=[])  # listed with the first split
    return _write(readings, instances, out)


def _parts(split: str) -> dict[str, float]:
    try:
        numbers = [float(part) for part in split.split("/")]
    except ValueError:
        numbers = []
    if len(numbers) not in (2, 3) or not all(n > 0 for n in numbers) or not math.isclose(sum(numbers), 1, abs_tol=1e-6):
        raise DataError(
            f"split={split!r} must be one of {joined(SPLITS)}, or the parts of train, val and test, which add up to 1, "
            "such as 0.8/0.1/0.1"
        )
    return dict(zip(SPLITS, numbers, strict=False))


def from_coco(instances: Path, images: Path, out: Path, *, split: str = "train", progress: bool = True) -> Conversion:
    """Convert a COCO JSON to a YOLO data set, or add a split to one.

    Category ids, in order, become labels 0 to n-1, and ids 1 to n in the new JSON. The source files do not change. If
    anything fails, ``out`` stays as it was.

    Args:
        instances: The COCO JSON.
        images: The folder that the ``file_name`` entries are relative to.
        out: The data set's folder. It may have other splits with the same categories.
        split: ``train``, ``val`` or ``test``.
        progress: Show a progress bar.

    Raises:
        DataError: If the JSON or the images cannot be used, or ``out`` already has this split or has other categories.
    """
    if split not in SPLITS:
        raise DataError(f"split={split!r} must be one of {joined(SPLITS)}")
    present = present_data(out, [split])
    names = None if present is None else _names(present)
    return _write({split: read_coco(instances, images, names=names, progress=progress)}, instances, out)[0]


def _names(data: dict[str, Any]) -> list[str]:
    names = data["names"]
    return [str(name) for name in (names.values() if isinstance(names, dict) else names)]


def _write(readings: Mapping[str, Reading], instances: Path, out: Path) -> list[Conversion]:
    shared = {split: _in_other_splits(reading, out) for split, reading in readings.items()}
    links = write_splits(readings, instances, out)
    results = [_conversion(reading, out, split, dict(links[split])) for split, reading in readings.items()]
    return [replace(result, warnings=[*result.warnings, *shared[result.split]]) for result in results]


def _in_other_splits(reading: Reading, out: Path) -> list[str]:
    """Return a warning for each split of ``out`` that has links to these images."""
    found = []
    mine = {(info.st_dev, info.st_ino) for info in (image.source.stat() for image in reading.images)}
    for other in sorted(splits_in(out)):
        files = [file.stat() for file in (out / "images" / other).rglob("*") if file.is_file()]
        if same := len(mine & {(info.st_dev, info.st_ino) for info in files}):
            found.append(
                f"{same} of {counted(len(reading.images), 'image')} are in {other} too; divide one JSON instead"
            )
    return found


def _conversion(reading: Reading, out: Path, split: str, links: dict[str, int]) -> Conversion:
    boxes, names = [box for image in reading.images for box in image.boxes], reading.names
    used = {box.label for box in boxes}
    unused = [name for label, name in enumerate(names) if label not in used]
    notes = [f"classes without a box: {joined(unused)}"] if unused and len(unused) < len(names) else []
    if reading.from_polygons:
        notes.append(f"{counted(reading.from_polygons, 'box', 'boxes')} made from polygons, which had no bbox")
    if split == "train" and len(splits_in(out)) == 1:
        notes.append(
            f"{out / 'data.yaml'} has one split: val is the same images as train. Add the other splits with --split "
            "val and --split test, or divide these images: --split 0.8/0.1/0.1 into a new folder"
        )
    return Conversion(
        data=out / "data.yaml",
        split=split,
        names=names,
        images=len(reading.images),
        empty=sum(all(box.crowd for box in image.boxes) for image in reading.images),
        boxes=sum(not box.crowd for box in boxes),
        crowd=sum(box.crowd for box in boxes),
        clipped=reading.clipped,
        links=links,
        bad=reading.bad,
        bad_file=out / bad_boxes(split) if reading.bad else None,
        notes=notes,
        warnings=_warnings(reading),
    )


def _warnings(reading: Reading) -> list[str]:
    boxes = [box for image in reading.images for box in image.boxes]
    if not boxes:
        return ["the JSON has no annotations, so there is no box to train on"]
    if all(box.crowd for box in boxes):
        return [
            f"all {counted(len(boxes), 'box', 'boxes')} are crowd regions (iscrowd: 1), so there is none to train on"
        ]
    if reading.below_one == reading.read:
        return [
            "no box has a value above 1, as if the boxes were parts of the image's size; COCO's bbox is in pixels: "
            "multiply by width and height"
        ]
    return []


def summary(result: Conversion, *, is_last: bool = True) -> Group:
    """Return the counts and the first 20 bad images and boxes, for ``rich.print``; at the end, how to train."""
    from rich.console import Group, RenderableType
    from rich.markup import escape
    from rich.table import Table

    counts = Table(title=f"{result.split} split of {escape(str(result.data.parent))}", show_header=False)
    how = joined(f"{kind} {count}" for kind, count in result.links.items())
    for row in (
        ("images", f"{result.images} ({how})"),
        ("images without a box", str(result.empty)),
        ("boxes", str(result.boxes)),
        ("crowd boxes, only in the JSON", str(result.crowd)),
        ("boxes clipped by at most 1 px", str(result.clipped)),
        ("bad, left out", str(len(result.bad))),
        ("classes", str(len(result.names))),
    ):
        counts.add_row(*row)
    parts: list[RenderableType] = [counts]
    if result.bad:
        first = f"the first {SHOWN} of {len(result.bad)}" if len(result.bad) > SHOWN else str(len(result.bad))
        table = Table("image", "annotation", "box", "reason", title=f"Left out: {first}. Full list: {result.bad_file}")
        for bad in result.bad[:SHOWN]:
            table.add_row(*(escape(cell) for cell in cells(bad)))
        parts.append(table)
    parts += [escape(note) for note in result.notes]
    parts += [f"[bold yellow]warning:[/] {escape(warning)}" for warning in result.warnings]
    if not result.warnings and is_last:
        parts.append(f"Train with: yolo train data={escape(str(result.data))}")
    return Group(*parts)
