"""Read a COCO JSON and check every image and box in it."""

from __future__ import annotations

import glob
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from ..errors import DataError
from ..messages import counted, is_text, joined, printable
from ..text_files import read_text
from .coco_values import as_box, as_id, as_number, is_number

SUFFIXES = frozenset({".bmp", ".dng", ".jpeg", ".jpg", ".mpo", ".png", ".tif", ".tiff", ".webp"})
CLIP = 1.0  # pixels; a box that exceeds its image by more is bad, by less it is clipped
LARGEST = 1e9  # pixels; a larger coordinate counts as infinite
EXIF_ORIENTATION = 0x0112
JPEG_END = b"\xff\xd9"
LISTS = ("images", "annotations", "categories")
_IDS = {"images": ("id",), "annotations": ("image_id", "id", "category_id"), "categories": ("id",)}  # the first: needed

Id = int | str


@dataclass(frozen=True)
class BadEntry:
    """An image or annotation that was left out.

    Attributes:
        image: The image's ``file_name``, or its id where no such image exists.
        annotation: The annotation's id; None if the whole image is bad.
        box: The annotation's ``bbox``, unchanged.
        reason: What is wrong.
    """

    image: str
    annotation: Any
    box: Any
    reason: str


@dataclass
class Box:
    """A good annotation. ``bbox`` is left, top, width, height in pixels inside the image; ``label`` starts at 0."""

    annotation: Any
    label: int
    bbox: tuple[float, float, float, float]
    area: float
    crowd: bool


@dataclass
class Image:
    """A good image: its source file, and its name below ``images/<split>`` of the result."""

    id: Id
    source: Path
    name: PurePosixPath
    width: int
    height: int
    boxes: list[Box] = field(default_factory=list)


@dataclass
class Reading:
    """The contents of a COCO JSON.

    Attributes:
        names: The class names, by label.
        source_ids: The category id of each label in the JSON; None where it has none.
        images: The good images.
        bad: What was left out.
        clipped: Number of boxes that were clipped.
        from_polygons: Number of boxes that were made from polygons.
        below_one: Number of boxes with no value above 1, as relative coordinates have.
        as_corners: Number of boxes that fit their image if their numbers are left, top, right, bottom.
        outside: Number of boxes that exceed their image.
        read: Number of boxes of four numbers.
    """

    names: list[str]
    source_ids: list[int | None]
    images: list[Image]
    bad: list[BadEntry]
    clipped: int = 0
    from_polygons: int = 0
    below_one: int = 0
    as_corners: int = 0
    outside: int = 0
    read: int = 0


def read_coco(instances: Path, images: Path, *, names: Sequence[str] | None = None, progress: bool) -> Reading:
    """Read and check a COCO JSON against its images.

    Args:
        instances: The JSON file.
        images: The folder that its ``file_name`` entries are relative to.
        names: The classes of the data set that it belongs to; the categories are found among them by name. By default
            the categories in the order of their ids.
        progress: Show a progress bar.

    Raises:
        DataError: If the file is no COCO JSON, has other categories, none of its images or none of its boxes can be
            used, or its boxes are left, top, right, bottom.
    """
    from rich.console import Console
    from rich.progress import Progress

    content = load_json(instances)
    if not images.is_dir():
        raise DataError(
            f"{images} is not a folder; name the folder that the file_names in {instances.name} are relative to"
        )
    for entry in content["categories"]:
        if not isinstance(entry["id"], int):
            raise DataError(f"{instances}: category {entry['name']!r} needs a whole number as id, not {entry['id']!r}")
    numbers = {entry["name"]: entry["id"] for entry in sorted(content["categories"], key=lambda entry: entry["id"])}
    if names is None:
        names = list(numbers)
    if unknown := [name for name in numbers if name not in names]:
        raise DataError(
            f"{instances} has categories that are no classes of the data set: {joined(map(repr, unknown), most=5)}. "
            f"The classes: {joined(map(repr, names), most=8)}. Begin with the JSON that has all, in another folder"
        )
    reading = Reading(list(names), [numbers.get(name) for name in names], [], [])
    by_image: dict[Id, list[Any]] = {}
    for entry in content["annotations"]:
        by_image.setdefault(entry["image_id"], []).append(entry)

    known: set[Id] = set()
    owners: dict[str, str] = {}  # label file -> file name
    labels = {number: names.index(name) for name, number in numbers.items()}
    with Progress(console=Console(stderr=True), disable=not progress) as bar:
        for entry in bar.track(content["images"], description="Checking images and boxes"):
            file_name = str(entry["file_name"])
            if entry["id"] in known:
                reason = f"image id {entry['id']} occurs twice; the first image keeps the boxes"
                reading.bad.append(BadEntry(file_name, None, None, reason))
                continue
            known.add(entry["id"])
            entries = by_image.get(entry["id"], [])
            image = _image(entry, images)
            if isinstance(image, Image):
                key = str(image.name.with_suffix(""))
                if key in owners:
                    image = f"has the same label file as {owners[key]}"
                else:
                    owners[key] = file_name
            if isinstance(image, str):
                lost = f" ({counted(len(entries), 'box', 'boxes')} left out with it)" if entries else ""
                reading.bad.append(BadEntry(file_name, None, None, image + lost))
                continue
            _boxes(image, file_name, entries, labels, reading)
            reading.images.append(image)
    for image_id, entries in by_image.items():
        if image_id not in known:
            reading.bad += [
                BadEntry(str(image_id), e.get("id"), e.get("bbox"), "no image has this image_id") for e in entries
            ]
    if not reading.images:
        first = reading.bad[0]
        raise DataError(
            f"{instances}: none of the {len(content['images'])} images can be used with {images}; the first: "
            f"{printable(first.image)}: {first.reason}{_where_else(first.image, images)}"
        )
    _check_boxes(reading, instances, len(content["annotations"]))
    return reading


def _where_else(file_name: str, images: Path) -> str:
    """Return a clause about a file that a missing ``file_name`` probably means; empty if there is none."""
    relative = PurePosixPath(file_name.replace("\\", "/"))
    if not is_text(file_name) or ".." in relative.parts or (images / relative).is_file():
        return ""
    if (images.parent / relative).is_file():
        return f"; {images.parent / relative} does: name the folder {images.parent}"
    if (images / relative.name).is_file():
        return f"; {images / relative.name} does: write this file_name as {relative.name}"
    others = sorted(images.rglob(f"{glob.escape(relative.stem)}.*"))
    return f"; {others[0]} does" if others else ""


def _check_boxes(reading: Reading, instances: Path, annotations: int) -> None:
    if reading.outside > reading.read / 10 and reading.as_corners == reading.read:
        raise DataError(
            f"{instances}: {reading.outside} of {reading.read} boxes exceed their image, but all fit as left, top, "
            "right, bottom; COCO's bbox is left, top, width, height: convert them"
        )
    if annotations and not any(image.boxes for image in reading.images):
        first = next((bad for bad in reading.bad if bad.annotation is not None), reading.bad[0])
        raise DataError(
            f"{instances}: none of the {annotations} annotations can be used; the first: {first.image}: {first.reason}"
        )


def load_json(instances: Path) -> dict[str, list[Any]]:
    """Return the content of a COCO JSON: images and categories with an id and a name, annotations with an image id.

    Raises:
        DataError: If the file does not exist, is no JSON, lacks one of the three lists, or if an entry lacks one of
            these keys or repeats a category.
    """
    if not instances.is_file():
        what = "is a folder" if instances.is_dir() else "does not exist"
        raise DataError(f"{instances} {what}; name a COCO instances JSON")
    try:
        content = json.loads(read_text(instances))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{instances} is not valid JSON ({error}); name a COCO instances JSON") from None
    missing = [k for k in LISTS if not isinstance(content, dict) or not isinstance(content.get(k), list)]
    if missing:
        raise DataError(f"{instances} is no COCO instances JSON: the lists {joined(missing)} are missing")
    for key in ("images", "categories"):
        if not content[key]:
            raise DataError(f"{instances}: the list {key} is empty")
    for name, keys in _IDS.items():
        for number, entry in enumerate(content[name]):
            if not isinstance(entry, dict):
                raise DataError(f"{instances}: {name}[{number}] is {entry!r:.80}, not a mapping")
            for key in keys:
                entry[key] = as_id(entry.get(key))
                if key in _IDS[name][:1] and not is_id(entry[key]):
                    has = "is missing" if entry[key] is None else f"is {entry[key]!r:.80}"
                    raise DataError(f"{instances}: {name}[{number}]: {key} {has}; write a whole number or text")
    for number, entry in enumerate(content["images"]):
        if not isinstance(entry.get("file_name"), str) or not entry["file_name"]:
            raise DataError(f"{instances}: images[{number}] (id {entry['id']}) needs a file_name")
        for key in entry.keys() & {"width", "height"}:
            entry[key] = as_id(entry[key])
            if entry[key] in (None, 0):  # not known
                del entry[key]
    for entry in content["annotations"]:
        entry["from_polygons"] = not entry.get("bbox")
        entry["bbox"], entry["area"] = as_box(entry), as_number(entry.get("area"))
    seen: set[Id] = set()
    names: set[str] = set()
    for number, entry in enumerate(content["categories"]):
        name = entry.get("name")
        if not isinstance(name, str) or not name.strip():
            raise DataError(f"{instances}: categories[{number}]={entry!r} needs an id and a name")
        if entry["id"] in seen or name in names:
            raise DataError(f"{instances}: category {name!r} (id {entry['id']}) occurs twice; rename one")
        if printable(name) != name:
            raise DataError(f"{instances}: category name {printable(name)!r} has control characters; rename it")
        seen.add(entry["id"])
        names.add(name)
    return dict(content)


def is_id(value: object) -> bool:
    """Say whether a value can be a COCO id."""
    return isinstance(value, int | str) and not isinstance(value, bool)


def usable_ids(numbers: Sequence[Any]) -> list[int]:
    """Return the annotation ids, or 1, 2, ... where evaluators cannot use them.

    They read id 0 as "no match" and confuse equal ids.
    """
    good = all(type(n) is int and n > 0 for n in numbers) and len(set(numbers)) == len(numbers)
    return list(numbers) if good else list(range(1, len(numbers) + 1))


def read_size(image: Path) -> tuple[int, int, bool]:
    """Return width and height in pixels as training reads them, and whether EXIF data rotate the image."""
    from PIL import Image as Pillow

    with Pillow.open(image) as picture:
        width, height = picture.size
        jpeg = picture.format in ("JPEG", "MPO")  # Ultralytics ignores EXIF data of other formats
        turned = jpeg and picture.getexif().get(EXIF_ORIENTATION, 1) in (5, 6, 7, 8)
    return (height, width, True) if turned else (width, height, False)


def lacks_end(image: Path) -> bool:
    """Return whether a file is a JPEG that does not end in the end marker; Ultralytics rewrites such files in place."""
    with image.open("rb") as file:
        if file.read(2) != b"\xff\xd8":
            return False
        file.seek(-2, os.SEEK_END)
        return file.read() != JPEG_END


def _image(entry: dict[str, Any], images: Path) -> Image | str:
    """Return an entry's image, or what is wrong with it."""
    from PIL import Image as Pillow

    relative = PurePosixPath(str(entry["file_name"]).replace("\\", "/"))
    if relative.is_absolute() or ".." in relative.parts or str(relative)[1:2] == ":":
        return "its file_name points outside the images folder"
    if relative.suffix.lower() not in SUFFIXES:
        return (
            f"Ultralytics cannot read {relative.suffix or 'a file without a suffix'}, only {' '.join(sorted(SUFFIXES))}"
        )
    source = images / relative
    if not is_text(str(relative)):
        return "its file_name is not valid Unicode; rename the file"
    try:
        if not source.is_file():
            return f"{source} does not exist"
    except OSError as error:
        return f"its file_name cannot be used: {error.strerror}"
    try:
        with Pillow.open(source) as picture:
            picture.verify()
        if lacks_end(source):
            with Pillow.open(source) as picture:
                picture.load()  # Pillow's verify() does not decode a JPEG
        width, height, turned = read_size(source)  # opens the file again: verify() closes a PNG
    except Exception as error:  # Pillow raises many types for damaged files
        return f"cannot be read as an image ({type(error).__name__}: {' '.join(str(error).split())[:80]})"
    if min(width, height) < 10:
        return f"is {width}x{height}; Ultralytics needs at least 10x10"
    said = (entry.get("width", width), entry.get("height", height))
    if said != (width, height):
        exif = " (rotated by its EXIF data, as in training)" if turned else ""
        return f"is {width}x{height}{exif}, but the JSON gives {said[0]}x{said[1]}"
    # Ultralytics replaces the last folder named images to find the labels
    folders = [part + "_" if part == "images" else part for part in relative.parts[:-1]]
    return Image(entry["id"], source, PurePosixPath(*folders, relative.name), width, height)


def _boxes(image: Image, file_name: str, entries: list[Any], labels: dict[int, int], reading: Reading) -> None:
    """Separate an image's annotations into good and bad ones."""
    seen: dict[tuple[Any, ...], Any] = {}
    for entry in entries:
        raw, number = entry["bbox"], entry.get("id")
        checked = _bbox(raw, image.width, image.height)
        if isinstance(raw, list) and len(raw) == 4 and all(map(is_number, raw)):
            _count(raw, image, reading)
        category = entry.get("category_id")
        reason = checked if isinstance(checked, str) else ""
        if isinstance(category, bool) or not isinstance(category, int) or category not in labels:
            reason = f"unknown category id {category!r}"
        elif not reason:
            key = (category, *raw)
            if key in seen:
                reason = f"duplicate of annotation {seen[key]}"
            seen.setdefault(key, number)
        if reason or isinstance(checked, str):
            reading.bad.append(BadEntry(file_name, number, raw, reason))
            continue
        bbox, was_clipped = checked
        reading.clipped += was_clipped
        reading.from_polygons += entry["from_polygons"]
        area = entry.get("area")
        area = area if is_number(area) and area > 0 else bbox[2] * bbox[3]
        image.boxes.append(Box(number, labels[category], bbox, area, bool(entry.get("iscrowd", 0))))


def _count(box: list[float], image: Image, reading: Reading) -> None:
    """Count what tells other conventions from COCO's."""
    x, y, w, h = box
    reading.read += 1
    reading.below_one += max(box) <= 1
    reading.outside += max(x + w - image.width, y + h - image.height) > CLIP
    reading.as_corners += min(x, y) >= 0 and w > x and h > y and w <= image.width + CLIP and h <= image.height + CLIP


def _bbox(raw: Any, width: int, height: int) -> tuple[tuple[float, float, float, float], bool] | str:
    """Return the box inside the image and whether it was clipped, or what is wrong with it."""
    if not raw:
        return "it has no bbox, and no polygons to make one from"
    if not isinstance(raw, list) or len(raw) != 4 or any(type(v) not in (int, float) for v in raw):
        return "bbox is not four numbers"
    x, y, w, h = raw
    if not all(abs(v) <= LARGEST for v in raw):  # false for NaN, too
        return "bbox is not finite"
    if w <= 0 or h <= 0:
        return f"width {w:g} and height {h:g} must be above 0"
    out = max(-x, -y, x + w - width, y + h - height)
    if out > CLIP:
        return f"outside the image of {width}x{height} by {out:.6g} px"
    if out <= 0:
        return (x, y, w, h), False
    x0, y0, x1, y1 = max(x, 0), max(y, 0), min(x + w, width), min(y + h, height)
    if x1 <= x0 or y1 <= y0:
        return f"completely outside the image of {width}x{height}"
    return (x0, y0, x1 - x0, y1 - y0), out > 1e-6 * max(width, height)
