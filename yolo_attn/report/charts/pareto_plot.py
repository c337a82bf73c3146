"""Accuracy against latency, with the Pareto front: the models that no other beats in both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...experiment.costs import Spread
from ...experiment.results import ModelResult
from ...messages import joined
from ..number_format import median_and_range
from .svg import SMALL, Drawing, scale, shortened, width_of

HEIGHT = 360.0
MARKS = {"baseline": ("square", "base"), "variant": ("circle", "variant"), "control": ("diamond", "control")}

Rectangle = tuple[float, float, float, float]  # left, top, right, bottom


@dataclass(frozen=True)
class Point:
    """A model in the chart.

    Attributes:
        model: The model.
        latency: Latency in ms.
        low: Metric minus its standard deviation, in points.
        mean: The metric, in points.
        high: Metric plus its standard deviation, in points.
    """

    model: ModelResult
    latency: Spread
    low: float
    mean: float
    high: float

    def beats(self, other: Point) -> bool:
        """Return whether this model is at least as good in both, and better in one."""
        mine, its = (self.latency.median, -self.mean), (other.latency.median, -other.mean)
        return mine != its and mine[0] <= its[0] and mine[1] <= its[1]


def pareto_points(models: Sequence[ModelResult], metric: str) -> list[Point]:
    """Return the models that have a latency and the metric."""
    found = []
    for model in models:
        mean, sd = model.metric(metric).mean, model.metric(metric).sd or 0.0
        if model.cost and mean is not None:
            found.append(Point(model, model.cost.latency_ms, 100 * (mean - sd), 100 * mean, 100 * (mean + sd)))
    return found


def pareto_front(points: Sequence[Point]) -> list[Point]:
    """Return the points that no other beats, by latency."""
    front = [point for point in points if not any(other.beats(point) for other in points)]
    return sorted(front, key=lambda point: point.latency.median)


def pareto(points: Sequence[Point], metric: str, width: float, name: str) -> Drawing:
    """Draw the chart, ``width`` px wide."""
    front = pareto_front(points)
    drawing = Drawing(
        name,
        width,
        HEIGHT,
        f"{metric} against latency",
        "Further up is more accurate, further left is faster. No other model beats those on the front in both: "
        f"{joined(point.model.name for point in front)}.",
    )
    left, right, top, bottom = 52.0, width - 16.0, 28.0, HEIGHT - 46.0
    times = [time for point in points for time in (point.latency.median, point.latency.p10, point.latency.p90)]
    across = scale(times, left, right, margin=0.14, least=0.5)
    up = scale([v for point in points for v in (point.low, point.high)], bottom, top, margin=0.14, least=1.0)
    drawing.x_axis(across, top, bottom, 5 if width < 500 else 8)
    drawing.y_axis(up, left, right, 7)
    drawing.text(left, 16, f"{metric}, points", "muted small")
    drawing.text(right, HEIGHT - 10, "latency, ms per image", "muted small", anchor="end")
    steps: list[tuple[float, float]] = []
    for point in front:
        x, y = across(point.latency.median), up(point.mean)
        steps += [(x, steps[-1][1]), (x, y)] if steps else [(x, y)]
    if len(steps) > 1:
        drawing.polyline(steps, "front", "front: no other model is both faster and more accurate")
    taken: list[Rectangle] = []
    for point in points:
        (shape, style), latency = MARKS[point.model.role], point.latency
        x, y, low, high = across(latency.median), up(point.mean), across(latency.p10), across(latency.p90)
        taken += [(x - 7, y - 7, x + 7, y + 7), (low, y - 1.5, high, y + 1.5)]
        taken.append((x - 1.5, up(point.high), x + 1.5, up(point.low)))
        drawing.line(x, up(point.low), x, up(point.high), f"{style} faint")
        drawing.line(low, y, high, y, f"{style} faint")
        tip = f"{point.model.name}: {point.mean:.1f} points, {median_and_range(latency, 1)} ms"
        marker = style if point in front else f"{style} hollow"
        drawing.marker(x, y, shape, marker, tip, size=5.5)
    for point in sorted(points, key=lambda point: point.model.role != "baseline"):
        text = shortened(point.model.name, 0.45 * width, SMALL)
        size = width_of(text, SMALL)
        spot = _free_spot(across(point.latency.median), up(point.mean), size, taken, (left, top, right, bottom))
        taken.append(spot)
        drawing.text(spot[0], spot[3] - 3, text, "label", full=point.model.name)
    return drawing


def _free_spot(x: float, y: float, width: float, taken: Sequence[Rectangle], field: Rectangle) -> Rectangle:
    """Return the place for a label near ``(x, y)`` that overlaps least with what is there."""
    candidates = []
    for distance in (0.0, 12.0, 24.0, 38.0, 54.0):
        for dx, dy in ((9, -19), (9, 6), (-9 - width, -19), (-9 - width, 6), (-width / 2, -22), (-width / 2, 9)):
            low = y + dy + (distance if dy > 0 else -distance)
            candidates.append((distance, (x + dx, low, x + dx + width, low + 14)))

    def cost(candidate: tuple[float, Rectangle]) -> float:
        distance, box = candidate
        gaps = (field[0] - box[0], field[1] - box[1], box[2] - field[2], box[3] - field[3])
        outside = sum(max(0.0, gap) for gap in gaps)
        return sum(_overlap(box, other) for other in taken) + 50 * outside + 2 * distance

    return min(candidates, key=cost)[1]


def _overlap(one: Rectangle, other: Rectangle) -> float:
    across = min(one[2], other[2]) - max(one[0], other[0])
    down = min(one[3], other[3]) - max(one[1], other[1])
    return max(across, 0.0) * max(down, 0.0)
