"""Write lines of YOLO label files, and find out why an image or its label file cannot be used.

The rules are those of Ultralytics: five numbers per line, an integer class, coordinates as fractions of the image, 1 %
tolerance.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

TOLERANCE = 0.01


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
    if min(decoded.shape[:2]) < 10:
        return f"{image} is {decoded.shape[1]} x {decoded.shape[0]} pixels; at least 10 x 10 are needed"
    label = label_file(image)
    if not label.is_file():
        return f"{image} could not be read"
    lines = label.read_text(encoding="utf-8-sig").splitlines()
    for number, line in enumerate(lines, 1):
        if line.strip() and (fault := _fault_in(line.split(), classes)):
            return f"{label} line {number}: {fault}"
    return f"{image} was refused by Ultralytics"


def _fault_in(words: list[str], classes: int) -> str:
    try:
        cls, *box = [float(w) for w in words]
    except ValueError:
        return f"{' '.join(words)!r} must be numbers"
    if cls != int(cls) or not 0 <= cls < classes:
        return f"class {words[0]} does not exist; the data set has 0 to {classes - 1}"
    if len(box) < 4 or (len(box) > 4 and len(box) % 2):
        return f"{len(words)} numbers; a box has 5: class, x centre, y centre, width, height"
    if max(box) > 1 + TOLERANCE or min(box) < -TOLERANCE or (len(box) == 4 and min(box[2:]) < 0):
        return f"box {' '.join(words[1:])} lies outside the image; coordinates are fractions of it, 0 to 1"
    if any(b != b for b in box):
        return f"box {' '.join(words[1:])} is not finite"
    return ""
