"""Write lines of YOLO label files, and find out why an image or its label file cannot be used.

The rules are those of Ultralytics (five numbers per line, an integer class, coordinates as fractions of the image) and
one more: a box, not only its centre and size, lies inside the image. The tolerance is 1 % of the image.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import DataError
from ..messages import counted, joined
from ..text_files import read_text

if TYPE_CHECKING:
    from numpy.typing import NDArray

TOLERANCE = 0.01
ROUNDING = 1e-5  # of coordinates that are kept in float32, or written with five digits


def label_file(image: Path) -> Path:
    """Return the label file of an image: the last folder ``images`` becomes ``labels``, the suffix ``.txt``."""
    parts = list(image.parts)
    for k in range(len(parts) - 2, -1, -1):
        if parts[k] == "images":
            parts[k] = "labels"
            break
    return Path(*parts).with_suffix(".txt")


def label_line(label: int, bbox: Sequence[float], width: float, height: float) -> str:
    """Return the line of a box. ``bbox`` is left, top, width, height in pixels."""
    x, y, w, h = bbox
    numbers = ((x + w / 2) / width, (y + h / 2) / height, w / width, h / height)
    return " ".join([str(label), *(f"{number:.9g}" for number in numbers)]) + "\n"


def boxes_in(label: Path) -> NDArray[np.float64]:
    """Return the boxes of a label file as ``(N, 5)``: class, x centre, y centre, width, height as fractions.

    A polygon becomes the box around it. Equal lines count once, as in a training; lines that Ultralytics refuses, and a
    file that does not exist, give no boxes.
    """
    lines = read_text(label).split("\n") if label.is_file() else []
    found = []
    for line in lines:
        words = line.split()
        if len(words) < 5 or _fault_in(words, sys.maxsize):
            continue
        number, *box = map(float, words)
        if len(box) > 4:
            (left, right), (top, bottom) = ((min(side), max(side)) for side in (box[0::2], box[1::2]))
            box = [(left + right) / 2, (top + bottom) / 2, right - left, bottom - top]
        found.append((number, *box))
    return np.array(list(dict.fromkeys(found)), np.float64).reshape(-1, 5)


def why_unusable(image: Path, classes: int) -> str:
    """Return a clause that names the file, the line and what is wrong."""
    import cv2

    if not image.is_file():
        return f"{image} does not exist"
    if image.stat().st_size == 0:
        return f"{image} does not decode (it is empty)"
    decoded = cv2.imread(str(image))
    if decoded is None:
        return f"{image} does not decode (damaged, or not an image)"
    if truncated := _why_truncated(image):
        return f"{image} does not decode ({truncated})"
    if min(decoded.shape[:2]) < 10:
        return f"{image} is {decoded.shape[1]} x {decoded.shape[0]} pixels; at least 10 x 10 are needed"
    label = label_file(image)
    if not label.is_file():
        return f"{image} could not be read"
    try:
        lines = read_text(label).split("\n")
    except DataError as error:
        return str(error)
    for number, line in enumerate(lines, 1):
        if line.strip() and (fault := _fault_in(line.split(), classes)):
            return f"{label} line {number}: {fault}"
    if mixes_boxes_and_polygons(label):
        return f"{label}: boxes of 5 numbers among polygons, which Ultralytics reads as polygons; write all in one way"
    return f"{image} was refused by Ultralytics"


def _why_truncated(image: Path) -> str:
    """Return what Pillow, which is stricter than OpenCV, says about an image that it cannot decode."""
    from PIL import Image

    try:
        with Image.open(image) as picture:
            picture.load()
    except Exception as error:  # Pillow documents no narrower type for damaged files
        return " ".join(str(error).split()) or type(error).__name__
    return ""


def _fault_in(words: list[str], classes: int) -> str:
    try:
        cls, *box = [float(w) for w in words]
    except ValueError:
        return f"{' '.join(words)!r} must be numbers"
    if not all(map(math.isfinite, (cls, *box))):
        return f"{' '.join(words)!r} must be finite numbers"
    if cls != int(cls) or not 0 <= cls < classes:
        return f"class {words[0]} does not exist; the data set has 0 to {classes - 1}"
    if len(box) < 4 or (len(box) > 4 and len(box) % 2):
        return f"{len(words)} numbers; a box has 5: class, x centre, y centre, width, height"
    if max(box) > 1 + TOLERANCE or min(box) < -TOLERANCE or (len(box) == 4 and min(box[2:]) < 0):
        return f"box {' '.join(words[1:])} lies outside the image; coordinates are fractions of it, 0 to 1"
    if len(box) == 4 and outside(np.array([box]))[0]:
        x, y, w, h = box
        beyond = max(x + w / 2 - 1, y + h / 2 - 1, w / 2 - x, h / 2 - y)
        return f"box {' '.join(words[1:])} extends {beyond:.1%} beyond the image; clip it to the image or remove it"
    return ""


def outside(boxes: NDArray[np.floating[Any]]) -> NDArray[np.bool_]:
    """Return which boxes lie outside the image: with their centre, or with an edge beyond the tolerance.

    Args:
        boxes: ``(N, 4)``, x centre, y centre, width, height as fractions of the image.
    """
    centre, half = boxes[:, :2], boxes[:, 2:] / 2
    edge = np.maximum(centre + half - 1, half - centre).max(axis=1) > TOLERANCE + ROUNDING
    return edge | (np.abs(centre - 0.5).max(axis=1) > 0.5 + ROUNDING)


def mixes_boxes_and_polygons(label: Path) -> bool:
    """Return whether a label file has lines of both kinds; Ultralytics then reads the boxes as polygons."""
    lengths = {len(words) for line in read_text(label).split("\n") if (words := line.split())}
    return 5 in lengths and max(lengths) > 6


def without_area(labels: Iterable[Path]) -> str:
    """Return a sentence about the boxes without width or height in label files; empty if there are none."""
    places = [f"{label} line {line}" for label in labels for line in _lines_without_area(label)]
    if not places:
        return ""
    boxes = f"{counted(len(places), 'box', 'boxes')} without width or height"
    return f"{boxes}, which nothing can find: {joined(places, most=3)}."


def _lines_without_area(label: Path) -> list[int]:
    found = []
    for number, line in enumerate(read_text(label).split("\n"), 1):
        words = line.split()
        with suppress(ValueError):  # no number: another check says so
            if len(words) == 5 and min(float(words[3]), float(words[4])) <= 0:
                found.append(number)
    return found
