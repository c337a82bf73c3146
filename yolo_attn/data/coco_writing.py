"""Write splits of a YOLO data set: linked images, labels, a clean COCO JSON, ``data.yaml``, a list of bad boxes."""

from __future__ import annotations

import csv
import errno
import json
import os
import shutil
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from .. import atomic_files
from ..errors import DataError, disk_full
from ..messages import printable
from ..text_files import read_yaml
from . import SPLITS
from .coco_reading import BadEntry, Image, Reading, lacks_end, usable_ids
from .yolo_labels import label_line

HEADER = "# Made with: yolo-attn data from-coco\n"


def write_splits(readings: Mapping[str, Reading], instances: Path, out: Path) -> dict[str, Counter[str]]:
    """Write splits of a YOLO data set. They appear in ``out`` together; after an error ``out`` is as it was.

    Args:
        readings: The images of each new split.
        instances: The COCO JSON that they are from.
        out: The data set's folder. It is new, or has other splits.

    Returns:
        For each split the number of images per kind: ``hard link``, ``symlink`` or ``copy``.

    Raises:
        DataError: If ``out`` has one of these splits, or cannot be written.
        DiskFullError: If the disk is full.
    """
    present = present_data(out, readings)
    is_new = not out.exists()
    absent = [folder for folder in (out, *out.parents) if not folder.exists()]
    try:
        with atomic_files.part_folder(out.parent if is_new else out, "from-coco") as build:
            links = {}
            for split, reading in readings.items():
                links[split] = _write_images(reading.images, build / "images" / split, build / "labels" / split)
                _write_json(reading, instances, build / "annotations" / f"instances_{split}.json")
                if reading.bad:
                    _write_bad(reading.bad, build / bad_boxes(split))
            names = next(iter(readings.values())).names
            _write_data(present, names, out, readings, build / "data.yaml")
            if is_new:
                build.rename(out)
            else:
                _move_all(build, out, readings)
    except OSError as error:
        reason = f"{error.filename or out}: {error.strerror or error}"
        raise disk_full(error, out) or DataError(f"{reason}; name another out folder") from error
    finally:
        for folder in absent:
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
    return links


def splits_in(out: Path) -> set[str]:
    """Return the splits that a data set's folder has."""
    return {split for split in SPLITS if (out / "images" / split).exists()}


def present_data(out: Path, new: Iterable[str]) -> dict[str, Any] | None:
    """Return the data YAML of the splits in ``out``; None if ``out`` is new or empty.

    Raises:
        DataError: If ``out`` has one of the new splits, or was not made by :func:`write_splits`.
    """
    if out.exists() and not out.is_dir():
        raise DataError(f"{out} is a file; name a folder")
    for piece in _pieces(new):
        if os.path.lexists(out / piece):
            raise DataError(
                f"{out / piece} exists and is never overwritten; delete this split or name another out folder"
            )
    file = out / "data.yaml"
    if not file.exists():
        if splits_in(out):
            raise DataError(f"{out} has images but no data.yaml; name a new folder, or one that from-coco made")
        return None
    data = read_yaml(file)
    if not isinstance(data, dict) or not isinstance(data.get("names"), list | dict):
        raise DataError(f"{file} has no names:, so from-coco did not make it; name another out folder")
    return data


def bad_boxes(split: str) -> str:
    """Return the name of the file that lists what was left out of a split."""
    return f"bad_boxes_{split}.csv"


def cells(bad: BadEntry) -> tuple[str, str, str, str]:
    """Return what the list shows of an image or box that was left out: image, annotation, box, reason."""
    number = "" if bad.annotation is None else str(bad.annotation)
    texts = (bad.image, number, "" if bad.box is None else json.dumps(bad.box), bad.reason)
    image, number, box, reason = map(printable, texts)
    return image, number, box, reason


def _pieces(splits: Iterable[str]) -> list[Path]:
    kinds = [(Path("images", one), Path("labels", one), Path("annotations", f"instances_{one}.json")) for one in splits]
    return [piece for of_split in kinds for piece in of_split]


def _write_images(images: list[Image], image_folder: Path, label_folder: Path) -> Counter[str]:
    """Link each image and write its labels; return how many images are links of each kind."""
    links: Counter[str] = Counter()
    for image in images:
        target, label = image_folder / image.name, label_folder / image.name.with_suffix(".txt")
        for file in (target, label):
            file.parent.mkdir(parents=True, exist_ok=True)
            if file.exists():
                raise DataError(
                    f"{image.name}: the file system of the new data set has this name already, in other letter case; "
                    "rename one of the images"
                )
        links[_link(image.source.resolve(), target)] += 1
        lines = [label_line(b.label, b.bbox, image.width, image.height) for b in image.boxes if not b.crowd]
        label.write_text("".join(lines), encoding="utf-8", newline="\n")
    return links


def _link(source: Path, target: Path) -> str:
    """Make a hard link, otherwise a symlink, otherwise a copy; return which.

    A JPEG without its end marker is copied, because Ultralytics repairs such files in place.
    """
    if not lacks_end(source):
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
            {"id": label + 1, "name": name} | ({} if number is None else {"source_id": number})
            for label, (name, number) in enumerate(zip(reading.names, reading.source_ids, strict=True))
        ],
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content) + "\n", encoding="utf-8", newline="\n")


def _write_bad(bad: list[BadEntry], file: Path) -> None:
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("image", "annotation", "box", "reason"))
        writer.writerows(cells(one) for one in bad)


def _write_data(present: dict[str, Any] | None, names: list[str], out: Path, new: Collection[str], file: Path) -> None:
    """Write the data YAML. Ultralytics needs train and val, so a missing one borrows another split's images."""
    notes = ""
    splits = splits_in(out) | {*new}
    lenders = {one: one for one in SPLITS if one in splits}
    for wanted in ("train", "val"):
        if wanted not in splits:
            lenders[wanted] = next(one for one in ("val", "train", "test") if one in splits)
            lender = lenders[wanted]
            notes += f"# No {wanted} split yet: {wanted}: names the images of {lender}. Add it with --split {wanted}.\n"
    data: dict[str, Any] = {one: f"images/{lenders[one]}" for one in SPLITS if one in lenders}
    data |= {key: value for key, value in (present or {}).items() if key not in data and key != "names"}
    data["annotations"] = _annotations(data.pop("annotations", None), lenders, new, out)
    text = yaml.safe_dump(
        data | {"names": dict(enumerate(names))}, sort_keys=False, allow_unicode=True, default_flow_style=False
    )
    file.write_text(HEADER + notes + text, encoding="utf-8", newline="\n")


def _annotations(present: object, lenders: dict[str, str], new: Collection[str], out: Path) -> dict[str, str]:
    """Return the COCO JSON of each split, for the evaluation. A file that the user named for another split stays."""
    kept = present if isinstance(present, dict) else {}
    found: dict[str, str] = {}
    for one in (one for one in SPLITS if one in lenders):
        path = f"annotations/instances_{lenders[one]}.json"
        if one in kept and lenders[one] == one and one not in new:
            found[one] = kept[one]
        elif lenders[one] in new or (out / path).is_file():
            found[one] = path
    return found


def _move_all(build: Path, out: Path, splits: Iterable[str]) -> None:
    """Move the finished files into a folder that exists, ``data.yaml`` last. If one fails, move all of them back."""
    moved: list[Path] = []
    old = build / "old"
    old.mkdir()
    try:
        for split in splits:
            if os.path.lexists(out / bad_boxes(split)):  # of an earlier split of this name
                (out / bad_boxes(split)).rename(old / bad_boxes(split))
        lists = [Path(bad_boxes(split)) for split in splits if (build / bad_boxes(split)).exists()]
        for piece in (*_pieces(splits), *lists):
            (out / piece).parent.mkdir(exist_ok=True)
            (build / piece).rename(out / piece)
            moved.append(piece)
        (build / "data.yaml").replace(out / "data.yaml")
    except BaseException:
        for piece in moved:
            (out / piece).rename(build / piece)
        for file in old.iterdir():
            file.rename(out / file.name)
        for kind in ("images", "labels", "annotations"):
            if (out / kind).is_dir() and not any((out / kind).iterdir()):
                (out / kind).rmdir()
        raise
