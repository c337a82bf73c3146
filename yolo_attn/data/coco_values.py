"""Read ids, numbers and boxes of a COCO JSON as tools write them, where the meaning is beyond doubt."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

_SIDES = (("x", "y", "width", "height"), ("x", "y", "w", "h"), ("left", "top", "width", "height"))
_CORNERS = (("xmin", "ymin", "xmax", "ymax"), ("x1", "y1", "x2", "y2"), ("left", "top", "right", "bottom"))


def as_id(value: Any) -> Any:
    """Return an id with ``1.0`` and ``"1"`` as 1; anything else, such as ``"0001"``, stays as it is."""
    number = as_number(value)
    whole = is_number(number) and number == int(number)
    return int(number) if whole and (not isinstance(value, str) or str(int(number)) == value) else value


def as_number(value: Any) -> Any:
    """Return the number that a text such as ``"12.5"`` is; anything else stays as it is."""
    if not isinstance(value, str):
        return value
    try:
        number = float(value)
    except ValueError:
        return value
    return int(value) if value.isdecimal() else number if math.isfinite(number) else value


def as_box(entry: Mapping[str, Any]) -> Any:
    """Return an annotation's ``bbox`` as left, top, width, height; what is no box stays as it is.

    Accepts a mapping with the names of sides or corners, a text with four numbers, numbers as text, and polygons
    without a box, which give the box around them.
    """
    box = entry.get("bbox")
    if isinstance(box, str):
        try:
            box = json.loads(box if box.strip().startswith("[") else f"[{box}]")
        except ValueError:
            return box
    if isinstance(box, Mapping):
        lower = {str(key).lower(): as_number(value) for key, value in box.items()}
        for keys in _SIDES:
            if lower.keys() >= set(keys):
                return [lower[key] for key in keys]
        for keys in _CORNERS:
            if lower.keys() >= set(keys) and all(is_number(lower[key]) for key in keys):
                left, top, right, bottom = (lower[key] for key in keys)
                return [left, top, right - left, bottom - top]
        return box
    if not box and (around := _around(entry.get("segmentation"))):
        return around
    return [as_number(value) for value in box] if isinstance(box, list) else box


def is_number(value: object) -> bool:
    """Say whether a value is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _around(polygons: Any) -> list[float]:
    """Return the box around polygons ``[[x, y, x, y, ...], ...]``; empty if they are no polygons."""
    flat = [value for polygon in polygons if isinstance(polygon, list) for value in polygon] if polygons else []
    if len(flat) < 6 or not all(map(is_number, flat)):
        return []
    xs, ys = flat[0::2], flat[1::2]
    return [min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)]
