"""Convert a COCO JSON to a YOLO data set: linked images, labels, a clean JSON, ``data.yaml``, a list of bad boxes."""

from __future__ import annotations

import csv
import errno
import json
import os
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from .. import atomic_files
from ..errors import DataError
from ..messages import joined
from . import SPLITS
from .coco_reading import BadEntry, Image, Reading, read_coco, usable_ids
from .yolo_labels import label_line

if TYPE_CHECKING:
    from rich.console import Group

SHOWN = 20  # bad images and boxes in the summary; the CSV has all
HEADER = "# Made with: yolo-attn data from-coco\n"


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
    present = _present_data(out, split)
    reading = read_coco(instances, images, progress=progress)
    names = [name for _, name in reading.categories]
    if present is not None and _names(present) != names:
        raise DataError(
            f"{out / 'data.yaml'} has the classes {_names(present)}, but {instances} has {names}; name another out "
            "folder"
        )

    is_new = not out.exists()
    try:
        with atomic_files.part_folder(out, split) as build:
            links = _write_images(reading.images, build / "images" / split, build / "labels" / split)
            _write_json(reading, instances, build / "annotations" / f"instances_{split}.json")
            if reading.bad:
                _write_bad(reading.bad, build / f"bad_boxes_{split}.csv")
            _write_data(present, names, _splits(out) | {split}, split, build / "data.yaml")
            _publish(build, out, split)
    except PermissionError as error:
        raise DataError(f"{error.filename or out}: {error.strerror}; name another out folder") from error
    finally:
        if is_new and out.is_dir() and not any(out.iterdir()):
            out.rmdir()

    boxes = [box for image in reading.images for box in image.boxes]
    used = {box.label for box in boxes}
    unused = [name for label, name in enumerate(names) if label not in used]
    notes = [f"classes without a box: {joined(unused)}"] if unused else []
    return Conversion(
        data=out / "data.yaml",
        split=split,
        names=names,
        images=len(reading.images),
        empty=sum(all(box.crowd for box in image.boxes) for image in reading.images),
        boxes=sum(not box.crowd for box in boxes),
        crowd=sum(box.crowd for box in boxes),
        clipped=reading.clipped,
        links=dict(links),
        bad=reading.bad,
        bad_file=out / f"bad_boxes_{split}.csv" if reading.bad else None,
        notes=notes,
    )


def summary(result: Conversion) -> Group:
    """Return the counts and the first 20 bad images and boxes, for ``rich.print``."""
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
            table.add_row(*(escape(cell) for cell in _cells(bad)))
        parts.append(table)
    parts += [escape(note) for note in result.notes]
    parts.append(f"Train with: yolo train data={escape(str(result.data))}")
    return Group(*parts)


def _splits(out: Path) -> set[str]:
    return {split for split in SPLITS if (out / "images" / split).exists()}


def _present_data(out: Path, split: str) -> dict[str, Any] | None:
    """Return the data YAML of earlier splits; None if ``out`` is new or empty."""
    if out.exists() and not out.is_dir():
        raise DataError(f"{out} is a file; name a folder")
    for piece in _pieces(split):
        if os.path.lexists(out / piece):
            raise DataError(
                f"{out / piece} exists and is never overwritten; delete this split or name another out folder"
            )
    file = out / "data.yaml"
    if not file.exists():
        if _splits(out):
            raise DataError(f"{out} has images but no data.yaml; name a new folder, or one that from-coco made")
        return None
    try:
        data = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError):
        data = None
    if not isinstance(data, dict) or "names" not in data:
        raise DataError(f"{file} has no names:, so from-coco did not make it; name another out folder")
    return data


def _names(data: dict[str, Any]) -> list[str]:
    names = data["names"]
    return [str(name) for name in (names.values() if isinstance(names, dict) else names)]


def _pieces(split: str) -> list[Path]:
    return [Path("images", split), Path("labels", split), Path("annotations", f"instances_{split}.json")]


def _write_images(images: list[Image], image_folder: Path, label_folder: Path) -> Counter[str]:
    """Link each image and write its labels; return how many images are links of each kind."""
    links: Counter[str] = Counter()
    for image in images:
        target, label = image_folder / image.name, label_folder / image.name.with_suffix(".txt")
        for file in (target, label):
            file.parent.mkdir(parents=True, exist_ok=True)
        links[_link(image.source.resolve(), target)] += 1
        lines = [label_line(b.label, b.bbox, image.width, image.height) for b in image.boxes if not b.crowd]
        label.write_text("".join(lines), encoding="utf-8", newline="\n")
    return links


def _link(source: Path, target: Path) -> str:
    """Make a hard link, otherwise a symlink, otherwise a copy; return which.

    A JPEG without its end marker is copied, because Ultralytics repairs such files in place.
    """
    if not _cut_short(source):
        for how, link in (("hard link", os.link), ("symlink", os.symlink)):
            try:
                link(source, target)
            except OSError as error:
                if error.errno in (errno.ENOSPC, errno.EDQUOT):
                    raise
            else:
                return how
    shutil.copy2(source, target)
    return "copy"


def _cut_short(image: Path) -> bool:
    with image.open("rb") as file:
        if file.read(2) != b"\xff\xd8":
            return False
        file.seek(-2, os.SEEK_END)
        return file.read() != b"\xff\xd9"


def _write_json(reading: Reading, instances: Path, file: Path) -> None:
    """Write the good part of the JSON, with crowd boxes and without segmentations."""
    boxes = [(image.id, box) for image in reading.images for box in image.boxes]
    content = {
        "info": {"description": f"made by yolo-attn data from-coco of {instances.name}"},
        "images": [
            {"id": i.id, "file_name": str(i.name), "width": i.width, "height": i.height} for i in reading.images
        ],
        "annotations": [
            {
                "id": number,
                "image_id": image_id,
                "category_id": box.label + 1,
                "bbox": list(box.bbox),
                "area": box.area,
                "iscrowd": int(box.crowd),
            }
            for number, (image_id, box) in zip(usable_ids([b.annotation for _, b in boxes]), boxes, strict=True)
        ],
        "categories": [
            {"id": label + 1, "name": name, "source_id": number}
            for label, (number, name) in enumerate(reading.categories)
        ],
    }
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(content) + "\n", encoding="utf-8", newline="\n")


def _cells(bad: BadEntry) -> tuple[str, str, str, str]:
    number = "" if bad.annotation is None else str(bad.annotation)
    return bad.image, number, "" if bad.box is None else json.dumps(bad.box), bad.reason


def _write_bad(bad: list[BadEntry], file: Path) -> None:
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("image", "annotation", "box", "reason"))
        writer.writerows(_cells(one) for one in bad)


def _write_data(present: dict[str, Any] | None, names: list[str], splits: set[str], split: str, file: Path) -> None:
    """Write the data YAML. Ultralytics needs train and val, so a missing one borrows another split's images."""
    notes = ""
    lenders = {one: one for one in SPLITS if one in splits}
    for wanted in ("train", "val"):
        if wanted not in splits:
            lenders[wanted] = next(one for one in ("val", "train", "test") if one in splits)
            lender = lenders[wanted]
            notes += f"# No {wanted} split yet: {wanted}: names the images of {lender}. Add it with --split {wanted}.\n"
    data: dict[str, Any] = {one: f"images/{lenders[one]}" for one in SPLITS if one in lenders}
    data |= {key: value for key, value in (present or {}).items() if key not in data and key != "names"}
    data["annotations"] = _annotations(data.pop("annotations", None), lenders, split, file.parent.parent)
    text = yaml.safe_dump(
        data | {"names": dict(enumerate(names))}, sort_keys=False, allow_unicode=True, default_flow_style=False
    )
    file.write_text(HEADER + notes + text, encoding="utf-8", newline="\n")


def _annotations(present: object, lenders: dict[str, str], split: str, out: Path) -> dict[str, str]:
    """Return the COCO JSON of each split, for the evaluation. A file that the user named for another split stays."""
    kept = present if isinstance(present, dict) else {}
    found: dict[str, str] = {}
    for one in (one for one in SPLITS if one in lenders):
        path = f"annotations/instances_{lenders[one]}.json"
        if one in kept and lenders[one] == one != split:
            found[one] = kept[one]
        elif lenders[one] == split or (out / path).is_file():
            found[one] = path
    return found


def _publish(build: Path, out: Path, split: str) -> None:
    """Move the finished files to ``out``, ``data.yaml`` last. If one fails, move all of them back."""
    moved: list[Path] = []
    csv_file = f"bad_boxes_{split}.csv"
    try:
        for piece in _pieces(split):
            (out / piece).parent.mkdir(exist_ok=True)
            (build / piece).rename(out / piece)
            moved.append(piece)
        if (build / csv_file).exists():
            (build / csv_file).replace(out / csv_file)
        else:
            (out / csv_file).unlink(missing_ok=True)  # of an earlier split of this name
        (build / "data.yaml").replace(out / "data.yaml")
    except BaseException:
        for piece in moved:
            (out / piece).rename(build / piece)
        (out / csv_file).unlink(missing_ok=True)
        for kind in ("images", "labels", "annotations"):
            if (out / kind).is_dir() and not any((out / kind).iterdir()):
                (out / kind).rmdir()
        raise
