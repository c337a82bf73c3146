"""Accuracy against latency, with the models that another one clearly beats in both."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ...experiment.costs import Spread
from ...experiment.results import ModelResult
from ...messages import joined
from ...statistics.seed_differences import MIN_SEEDS
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
        latency: Latency in ms; without a range for the baseline, to which the others' are relative.
        values: The metric of each seed, in points.
        mean: Their mean.
        low: Lower end of the 95 % confidence interval of the difference to the baseline, plus the baseline mean, which
            is both ends for the baseline itself; None below three seeds.
        high: Upper end.
    """

    model: ModelResult
    latency: Spread
    values: tuple[float, ...]
    mean: float
    low: float | None
    high: float | None

    def beats(self, other: Point) -> bool:
        """Return whether this model is faster and more accurate, and neither range overlaps with the other's."""
        if self.low is None or other.high is None:
            return False
        return self.latency.p90 < other.latency.p10 and self.low > other.high


def pareto_points(models: Sequence[ModelResult], metric: str) -> list[Point]:
    """Return the models that have a latency and the metric."""
    found = []
    for model in models:
        values, latency = model.metric(metric), model.cost.latency_ms if model.cost else None
        if latency is None or values.mean is None:
            continue
        seeds, mean = tuple(100 * value for value in values.values if value is not None), 100 * values.mean
        low = high = None
        if model.role == "baseline":
            latency = Spread(latency.median, latency.median, latency.median)
            low = high = mean if len(seeds) >= MIN_SEEDS else None
        elif (effect := model.change(metric)) and effect.interval.low is not None and effect.interval.high is not None:
            low, high = (mean + end - effect.seeds.mean for end in (effect.interval.low, effect.interval.high))
        found.append(Point(model, latency, seeds, mean, low, high))
    return found


def beaten_by(point: Point, points: Sequence[Point]) -> list[str]:
    """Return the names of the models that are faster and more accurate than ``point``, without overlap."""
    return [other.model.name for other in points if other.beats(point)]


def pareto(points: Sequence[Point], metric: str, width: float, name: str) -> Drawing:
    """Draw the chart, ``width`` px wide."""
    beaten = {point.model.name: beaten_by(point, points) for point in points}
    drawing = Drawing(
        name,
        width,
        HEIGHT,
        f"{metric} against latency",
        "Further up is more accurate, further left is faster. Beaten in both without overlap: "
        f"{joined(name for name, others in beaten.items() if others) or 'none'}.",
    )
    left, right, top, bottom = 52.0, width - 16.0, 28.0, HEIGHT - 46.0
    times = [time for point in points for time in (point.latency.median, point.latency.p10, point.latency.p90)]
    across = scale(times, left, right, margin=0.14, least=0.5)
    up = scale([v for point in points for v in _up(point)], bottom, top, margin=0.14, least=1.0)
    drawing.x_axis(across, top, bottom, 5 if width < 500 else 8)
    drawing.y_axis(up, left, right, 7)
    drawing.text(left, 16, f"{metric}, points", "muted small")
    drawing.text(right, HEIGHT - 10, "latency, ms per image", "muted small", anchor="end")
    taken: list[Rectangle] = []
    for point in points:
        (shape, style), latency = MARKS[point.model.role], point.latency
        x, y, low, high = across(latency.median), up(point.mean), across(latency.p10), across(latency.p90)
        taken += [(x - 7, y - 7, x + 7, y + 7), (low, y - 1.5, high, y + 1.5)]
        ends = up(max(_up(point))), up(min(_up(point)))
        taken.append((x - 1.5, ends[0], x + 1.5, ends[1]))
        if point.low is not None:
            drawing.line(x, ends[0], x, ends[1], f"{style} faint")
        for value in point.values if point.low is None and len(point.values) > 1 else ():
            tip = f"{point.model.name}, one seed: {value:.1f} points"
            drawing.marker(x, up(value), "circle", f"{style} hollow", tip, size=2.6)
        if high > low:
            drawing.line(low, y, high, y, f"{style} faint")
        tip = f"{point.model.name}: {point.mean:.1f} points, {median_and_range(latency, 1)} ms"
        marker = f"{style} hollow" if beaten[point.model.name] else style
        drawing.marker(x, y, shape, marker, tip, size=5.5)
    for point in sorted(points, key=lambda point: point.model.role != "baseline"):
        text = shortened(point.model.name, 0.45 * width, SMALL)
        size = width_of(text, SMALL)
        marks = {each.model.name: (across(each.latency.median), up(each.mean)) for each in points}
        mark = marks.pop(point.model.name)
        spot = _free_spot(*mark, size, taken, list(marks.values()), (left, top, right, bottom))
        taken.append(spot)
        drawing.text(spot[0], spot[3] - 3, text, "label", full=point.model.name)
    return drawing


def _up(point: Point) -> tuple[float, ...]:
    """Return the ends of a point's vertical line and its mean, or each seed where there is no line."""
    return (point.mean, *(point.values if point.low is None or point.high is None else (point.low, point.high)))


def _free_spot(
    x: float,
    y: float,
    width: float,
    taken: Sequence[Rectangle],
    others: Sequence[tuple[float, float]],
    field: Rectangle,
) -> Rectangle:
    """Return the place for a label near ``(x, y)`` that overlaps least and is near no other mark."""
    candidates = []
    for distance in (0.0, 12.0, 24.0, 38.0, 54.0):
        for dx, dy in ((9, -19), (9, 6), (-9 - width, -19), (-9 - width, 6), (-width / 2, -22), (-width / 2, 9)):
            low = y + dy + (distance if dy > 0 else -distance)
            candidates.append((distance, (x + dx, low, x + dx + width, low + 14)))

    def cost(candidate: tuple[float, Rectangle]) -> float:
        distance, box = candidate
        gaps = (field[0] - box[0], field[1] - box[1], box[2] - field[2], box[3] - field[3])
        outside = sum(max(0.0, gap) for gap in gaps)
        own = _gap(box, x, y)
        misleading = sum(max(0.0, 1.5 * own + 10 - _gap(box, *other)) for other in others)
        return sum(_overlap(box, other) for other in taken) + 50 * outside + 2 * distance + 5 * misleading

    return min(candidates, key=cost)[1]


def _gap(box: Rectangle, x: float, y: float) -> float:
    """Return the distance of a point from a rectangle."""
    return math.hypot(max(box[0] - x, 0.0, x - box[2]), max(box[1] - y, 0.0, y - box[3]))


def _overlap(one: Rectangle, other: Rectangle) -> float:
    across = min(one[2], other[2]) - max(one[0], other[0])
    down = min(one[3], other[3]) - max(one[1], other[1])
    return max(across, 0.0) * max(down, 0.0)
