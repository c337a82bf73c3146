"""Read a COCO JSON and check every image and box in it."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from ..errors import DataError
from ..messages import joined

SUFFIXES = frozenset({".bmp", ".dng", ".jpeg", ".jpg", ".mpo", ".png", ".tif", ".tiff", ".webp"})
CLIP = 1.0  # pixels; a box that exceeds its image by more is bad, by less it is clipped
LARGEST = 1e9  # pixels; a larger coordinate counts as infinite
EXIF_ORIENTATION = 0x0112
LISTS = ("images", "annotations", "categories")

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
    """The contents of a COCO JSON. ``categories`` are (id, name) in the order of the ids."""

    categories: list[tuple[int, str]]
    images: list[Image]
    bad: list[BadEntry]
    clipped: int = 0


def read_coco(instances: Path, images: Path, *, progress: bool) -> Reading:
    """Read and check a COCO JSON against its images.

    Args:
        instances: The JSON file.
        images: The folder that its ``file_name`` entries are relative to.
        progress: Show a progress bar.

    Raises:
        DataError: If the file is no COCO JSON, or no image of it is usable.
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
    reading = Reading(sorted((entry["id"], entry["name"]) for entry in content["categories"]), [], [])
    by_image: dict[Id, list[Any]] = {}
    for entry in content["annotations"]:
        by_image.setdefault(entry["image_id"], []).append(entry)

    known: set[Id] = set()
    names: dict[str, str] = {}  # label file -> file name
    labels = {number: label for label, (number, _) in enumerate(reading.categories)}
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
                if key in names:
                    image = f"has the same label file as {names[key]}"
                else:
                    names[key] = file_name
            if isinstance(image, str):
                lost = f" ({len(entries)} boxes left out with it)" if entries else ""
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
            f"{first.image}: {first.reason}"
        )
    return reading


def load_json(instances: Path) -> dict[str, list[Any]]:
    """Return the content of a COCO JSON: images and categories with an id and a name, annotations with an image id.

    Raises:
        DataError: If the file does not exist, is no JSON, lacks one of the three lists, or if an entry lacks one of
            these keys or repeats a category.
    """
    if not instances.is_file():
        raise DataError(f"{instances} does not exist; name a COCO instances JSON")
    try:
        content = json.loads(instances.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{instances} is not valid JSON ({error}); name a COCO instances JSON") from None
    missing = [k for k in LISTS if not isinstance(content, dict) or not isinstance(content.get(k), list)]
    if missing:
        raise DataError(f"{instances} is no COCO instances JSON: the lists {joined(missing)} are missing")
    for key in ("images", "categories"):
        if not content[key]:
            raise DataError(f"{instances}: the list {key} is empty")
    for number, entry in enumerate(content["images"]):
        if not isinstance(entry, dict) or not is_id(entry.get("id")) or not entry.get("file_name"):
            raise DataError(f"{instances}: images[{number}] needs an id and a file_name")
    for number, entry in enumerate(content["annotations"]):
        if not isinstance(entry, dict) or not is_id(entry.get("image_id")):
            raise DataError(f"{instances}: annotations[{number}] needs an image_id")
    seen: set[Id] = set()
    names: set[str] = set()
    for number, entry in enumerate(content["categories"]):
        name = entry.get("name") if isinstance(entry, dict) else None
        if not isinstance(name, str) or not name.strip() or not is_id(entry.get("id")):
            raise DataError(f"{instances}: categories[{number}]={entry!r} needs an id and a name")
        if entry["id"] in seen or name in names:
            raise DataError(f"{instances}: category {name!r} (id {entry['id']}) occurs twice; rename one")
        seen.add(entry["id"])
        names.add(name)
    return dict(content)


def is_id(value: object) -> bool:
    """Say whether a value can be a COCO id."""
    return isinstance(value, int | str) and not isinstance(value, bool)


def is_number(value: object) -> bool:
    """Say whether a value is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


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
    if not source.is_file():
        return f"{source} does not exist"
    try:
        with Pillow.open(source) as picture:
            picture.verify()
        width, height, turned = read_size(source)  # opens the file again: verify() closes a PNG
    except Exception as error:  # Pillow raises many types for damaged files
        return f"cannot be read as an image ({type(error).__name__})"
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
        raw, number = entry.get("bbox"), entry.get("id")
        checked = _bbox(raw, image.width, image.height)
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
        area = entry.get("area")
        area = area if is_number(area) and area > 0 else bbox[2] * bbox[3]
        image.boxes.append(Box(number, labels[category], bbox, area, bool(entry.get("iscrowd", 0))))


def _bbox(raw: Any, width: int, height: int) -> tuple[tuple[float, float, float, float], bool] | str:
    """Return the box inside the image and whether it was clipped, or what is wrong with it."""
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
