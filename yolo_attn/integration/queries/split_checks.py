"""Find images that two splits of a data set share, images without a label file, and boxes without an area."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ultralytics.data.utils import img2label_paths
from ultralytics.utils import LOGGER

from ...data.yolo_labels import mixes_boxes_and_polygons, without_area
from ...errors import DataError
from ...messages import counted, joined
from . import data_checks
from .data_fingerprint import SPLITS, images_of, take_edges
from .yaml_files import listed

MOST_COMPARED = 20_000  # images; decoding more would take minutes
SIDE = 16  # of the difference hash: 256 bits, each says whether a pixel is darker than its right neighbour
MOST_BITS = 12  # that differ between candidates
LEAST_CORRELATION = 0.98  # of the grey thumbnails of two near-duplicates
THUMBNAIL = 64
SHOWN = 3  # names in a warning
_PURPOSE = {"train": "trained on", "val": "used to choose the epoch", "test": "evaluated on"}


@dataclass(frozen=True)
class SplitFindings:
    """What is wrong with the splits of a data set.

    Attributes:
        warnings: A sentence each.
        shared: For each split the number of images that an earlier split has too, or that look like one of it.
    """

    warnings: list[str]
    shared: dict[str, int]


def check(data: Mapping[str, Any]) -> SplitFindings:
    """Find splits that share images, images without a label file, boxes without an area and the like, and log them.

    Images are shared if their bytes are equal (sizes and 8 KiB at each end), or if they look alike: their difference
    hashes differ in at most 12 of 256 bits and their thumbnails correlate by more than 0.98. Images that look alike are
    not looked for in more than 20,000 images.

    Args:
        data: A data YAML's content with absolute paths, as ``check_det_dataset`` returns it.

    Raises:
        DataError: If two splits are the same images.
    """
    images = {split: sorted(images_of(data[split])) for split in SPLITS if data.get(split)}
    name = data.get("yaml_file") or "the data set"
    contents = {split: [_content(image) for image in files] for split, files in images.items()}
    warnings = []
    pairs = [(a, b) for k, a in enumerate(images) for b in list(images)[k + 1 :]]
    for one, other in pairs:
        if images[one] and set(contents[one]) == set(contents[other]):
            raise DataError(
                f"{name}: {one} and {other} are the same {counted(len(set(contents[one])), 'image')} "
                f"({joined(listed(data[other]))}), so the metrics would be of images that were {_PURPOSE[one]}. Give "
                f"{other} images of its own"
            )
    if mixed := [label for label in _label_files(images) if mixes_boxes_and_polygons(label)]:
        raise DataError(
            f"{name}: boxes of 5 numbers among polygons, which Ultralytics reads as polygons: "
            f"{joined(mixed, most=SHOWN)}; write all in one way"
        )
    thumbnails = _thumbnails(images) if 0 < sum(map(len, images.values())) <= MOST_COMPARED else {}
    shared: dict[str, set[str]] = {split: set() for split in images}
    for one, other in pairs:
        there = set(contents[one])
        same = [image for image, content in zip(images[other], contents[other], strict=True) if content in there]
        rest = [image for image in images[other] if image not in set(same)]
        alike = _alike(thumbnails, images[one], rest) if thumbnails else []
        shared[other].update(same, (image for _, image in alike))
        total = len(images[other])
        if same:
            warnings.append(
                f"{len(same)} of {counted(total, 'image')} of {other} are in {one} too: {_names(same)}. So the metrics "
                f"are partly of images that were {_PURPOSE[one]}."
            )
        if alike:
            both = joined([f"{Path(b).name} ({one}: {Path(a).name})" for a, b in alike], most=SHOWN)
            warnings.append(
                f"{len(alike)} of {counted(total, 'image')} of {other} look like images of {one}: {both}. Copies, or "
                f"frames of one video, make {other} easier than new images."
            )
    if not thumbnails and len(images) > 1:
        warnings.append(
            f"More than {MOST_COMPARED:,} images: only exact copies of images between splits were looked for."
        )
    warnings += [*_without_labels(images), *_without_area(images), *data_checks.warnings_of(data)]
    for warning in warnings:
        LOGGER.warning(warning)
    return SplitFindings(warnings, {split: len(found) for split, found in shared.items()})


def _label_files(images: Mapping[str, Sequence[str]]) -> list[Path]:
    files = {label for files in images.values() for label in img2label_paths(list(files))}
    return [label for label in map(Path, sorted(files)) if label.is_file()]


def _without_labels(images: Mapping[str, Sequence[str]]) -> list[str]:
    warnings = []
    for split, files in images.items():
        labels = img2label_paths(list(files))
        absent = [image for image, label in zip(files, labels, strict=True) if not Path(label).is_file()]
        if absent and len(absent) < len(files):
            warnings.append(
                f"{len(absent)} of {counted(len(files), 'image')} of {split} have no label file and count as images "
                f"without objects: {_names(absent)}."
            )
    return warnings


def _without_area(images: Mapping[str, Sequence[str]]) -> list[str]:
    labels = {split: filter(Path.is_file, map(Path, img2label_paths(list(files)))) for split, files in images.items()}
    return [f"{split}: {sentence}" for split, files in labels.items() if (sentence := without_area(files))]


def _names(files: Sequence[str]) -> str:
    return joined([Path(file).name for file in files], most=SHOWN)


def _content(image: str) -> bytes:
    digest = hashlib.sha256()
    take_edges(digest, image)
    return digest.digest()


def _thumbnails(images: Mapping[str, Sequence[str]]) -> dict[str, tuple[Any, Any]]:
    """Return the difference hash, packed, and the normalised thumbnail of each image that decodes."""
    from PIL import Image

    found = {}
    for file in {file for files in images.values() for file in files}:
        try:
            with Image.open(file) as picture:
                picture.draft("L", (THUMBNAIL, THUMBNAIL))  # decodes a JPEG at an eighth of its size
                grey = picture.convert("L")
                small = np.asarray(grey.resize((SIDE + 1, SIDE), Image.Resampling.BOX), np.int16)
                pixels = np.asarray(grey.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX), np.float32).ravel()
        except Exception:  # damaged: the check of images and labels names it
            continue
        pixels = pixels - pixels.mean()
        length = float(np.linalg.norm(pixels))
        if length > THUMBNAIL:  # one grey level on average; flat images all look alike
            found[file] = np.packbits(small[:, 1:] > small[:, :-1]), pixels / length
    return found


def _alike(
    thumbnails: Mapping[str, tuple[Any, Any]], one: Sequence[str], other: Sequence[str]
) -> list[tuple[str, str]]:
    """Return pairs of images that look alike, one pair for each image of the second list."""
    first = [image for image in one if image in thumbnails]
    second = [image for image in other if image in thumbnails]
    if not first or not second:
        return []
    hashes = np.stack([thumbnails[image][0] for image in first])
    bits = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).sum(1)
    found = []
    for image in second:
        mine, pixels = thumbnails[image]
        for k in np.flatnonzero(bits[hashes ^ mine].sum(1) <= MOST_BITS):
            if float(thumbnails[first[k]][1] @ pixels) > LEAST_CORRELATION:
                found.append((first[k], image))
                break
    return found
