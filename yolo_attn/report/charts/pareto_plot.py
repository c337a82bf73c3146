"""Accuracy against latency, with the models that no other beats in both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..number_format import points
from .svg import Drawing, scale, shortened, tick, width_of

HEIGHT = 360.0
SHAPES = {"baseline": "square", "variant": "circle", "control": "diamond"}
STYLES = {"baseline": "base", "variant": "variant", "control": "control"}

Box = tuple[float, float, float, float]


def placed(models: Sequence[Mapping[str, Any]], figure: str) -> list[dict[str, Any]]:
    """Return the models with a latency and a figure: ``x`` in ms, ``y`` in points, spreads, and ``front``."""
    found = []
    for model in models:
        latency = (model["cost"] or {}).get("latency_ms")
        value = model["figures"].get(figure, {}).get("mean")
        if latency is None or value is None:
            continue
        sd = model["figures"][figure]["sd"]
        found.append(
            {
                "title": model["title"],
                "role": model["role"],
                "x": latency["median"],
                "x_low": latency["p10"],
                "x_high": latency["p90"],
                "y": 100 * value,
                "y_low": 100 * (value - (sd or 0)),
                "y_high": 100 * (value + (sd or 0)),
            }
        )
    for item in found:
        item["front"] = not any(_beats(other, item) for other in found)
    return found


def _beats(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    as_good = one["x"] <= other["x"] and one["y"] >= other["y"]
    return as_good and (one["x"] < other["x"] or one["y"] > other["y"])


def pareto(found: Sequence[Mapping[str, Any]], figure: str, width: float, name: str) -> Drawing:
    """Return the chart of what :func:`placed` gave.

    Args:
        found: The models.
        figure: Name of the figure on the vertical axis.
        width: px.
        name: Id of the drawing.
    """
    front = sorted((item for item in found if item["front"]), key=lambda item: item["x"])
    drawing = Drawing(
        name,
        width,
        HEIGHT,
        f"{figure} against latency",
        f"Further up is more accurate, further left is faster. On the front, which no other model beats in both: "
        f"{', '.join(item['title'] for item in front)}.",
    )
    left, right, top, bottom = 52.0, width - 16.0, 28.0, HEIGHT - 46.0
    across = scale([v for i in found for v in (i["x"], i["x_low"], i["x_high"])], left, right, margin=0.14, least=0.5)
    up = scale([v for i in found for v in (i["y_low"], i["y_high"])], bottom, top, margin=0.14, least=1.0)
    for value in across.ticks(5 if width < 500 else 8):
        drawing.line(across(value), top, across(value), bottom, "axis")
        drawing.text(across(value), bottom + 17, tick(value), "muted small", anchor="middle")
    for value in up.ticks(7):
        drawing.line(left, up(value), right, up(value), "axis")
        drawing.text(left - 7, up(value) + 4, tick(value), "muted small", anchor="end")
    drawing.text(left, 16, f"{figure}, points", "muted small")
    drawing.text(right, HEIGHT - 10, "latency, ms per image", "muted small", anchor="end")
    steps: list[tuple[float, float]] = []
    for item in front:
        if steps:
            steps.append((across(item["x"]), steps[-1][1]))
        steps.append((across(item["x"]), up(item["y"])))
    if len(steps) > 1:
        drawing.polyline(steps, "front", "front: no other model is both faster and more accurate")
    taken: list[Box] = []
    for item in found:
        x, y = across(item["x"]), up(item["y"])
        taken += [(x - 7, y - 7, x + 7, y + 7), (across(item["x_low"]), y - 1.5, across(item["x_high"]), y + 1.5)]
        taken.append((x - 1.5, up(item["y_high"]), x + 1.5, up(item["y_low"])))
    for item in found:
        style = STYLES[item["role"]]
        x, y = across(item["x"]), up(item["y"])
        drawing.line(x, up(item["y_low"]), x, up(item["y_high"]), f"{style} faint")
        drawing.line(across(item["x_low"]), y, across(item["x_high"]), y, f"{style} faint")
        tip = (
            f"{item['title']}: {item['y']:.1f} points, {item['x']:.1f} ms ({item['x_low']:.1f} to {item['x_high']:.1f})"
        )
        drawing.marker(x, y, SHAPES[item["role"]], style if item["front"] else f"{style} hollow", tip, size=5.5)
    for item in sorted(found, key=lambda item: item["role"] != "baseline"):
        text = shortened(item["title"], 0.45 * width, 12)
        spot = _spot(across(item["x"]), up(item["y"]), width_of(text, 12), taken, (left, top, right, bottom))
        taken.append(spot)
        drawing.text(spot[0], spot[3] - 3, text, "label", full=item["title"])
    return drawing


def _spot(x: float, y: float, width: float, taken: Sequence[Box], field: Box) -> Box:
    """Return where a label near ``(x, y)`` overlaps the least with what is there."""
    height = 14.0
    best: tuple[float, Box] | None = None
    for distance in (0.0, 12.0, 24.0, 38.0, 54.0):
        for dx, dy in ((9, -19), (9, 6), (-9 - width, -19), (-9 - width, 6), (-width / 2, -22), (-width / 2, 9)):
            low = y + dy + (distance if dy > 0 else -distance)
            box = (x + dx, low, x + dx + width, low + height)
            outside = sum(max(0.0, gap) for gap in (field[0] - box[0], box[2] - field[2], field[1] - box[1],
                                                    box[3] - field[3]))  # fmt: skip
            cost = sum(_overlap(box, other) for other in taken) + 50 * outside + 2 * distance
            if best is None or cost < best[0]:
                best = (cost, box)
    assert best is not None, "there are always candidates"
    return best[1]


def _overlap(one: Box, other: Box) -> float:
    across = min(one[2], other[2]) - max(one[0], other[0])
    down = min(one[3], other[3]) - max(one[1], other[1])
    return across * down if across > 0 and down > 0 else 0.0


def table(found: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Return a row for each model."""
    return [[i["title"], f"{i['x']:.2f}", points(i["y"] / 100), "yes" if i["front"] else "no"] for i in found]
