"""The forest plot: each model's difference to the baseline with its confidence intervals."""

from __future__ import annotations

from collections.abc import Sequence

from ...experiment.results import ModelResult
from ...messages import counted
from ...statistics import MetricEffect
from ...statistics.seed_differences import MIN_SEEDS
from ..number_format import change, interval, signed
from .svg import Drawing, Scale, scale, shortened, width_of

ROW, HEAD, FOOT, GAP = 34.0, 26.0, 44.0, 12.0
NARROW = 500.0  # px, below which a label is above its row


def forest(models: Sequence[ModelResult], metrics: Sequence[str], width: float, name: str) -> Drawing:
    """Draw the plot of models with an effect, one block for each metric, ``width`` px wide."""
    narrow = width < NARROW
    row = ROW + 10 if narrow else ROW
    labels = max([width_of(model.name) for model in models], default=0)
    left = 12.0 if narrow else min(labels + 24, 0.3 * width)
    right = width - (12.0 if narrow else 190.0)
    blocks = {metric: [(model, effect) for model in models if (effect := model.change(metric))] for metric in metrics}
    blocks = {metric: shown for metric, shown in blocks.items() if shown}
    effects = [effect for shown in blocks.values() for _, effect in shown]
    height = sum(HEAD + row * len(shown) + GAP for shown in blocks.values()) + FOOT
    drawing = Drawing(
        name,
        width,
        height,
        "Differences to the baseline with 95 % confidence intervals",
        f"{counted(len(models), 'model')}; each row shows the mean difference in points, a thick line for the interval "
        "over seeds and a thin line with ends for the interval over seeds and test images. The table of differences "
        "has the same numbers.",
    )
    intervals = [part for effect in effects for part in (effect.seeds, effect.combined) if part]
    ends = [end for part in intervals for end in (part.low, part.high) if end is not None]
    seeds = [value for effect in effects for value in effect.seeds.values]
    axis = scale([0.0, *seeds, *ends], left, right, least=0.4)
    top, bottom = 6.0, height - FOOT
    drawing.x_axis(axis, top + 16, bottom, 5 if narrow else 8)
    drawing.line(axis(0), top + 16, axis(0), bottom, "zero")
    drawing.text(left, bottom + 34, "← worse than the baseline", "muted small")
    drawing.text(right, bottom + 34, "better →", "muted small", anchor="end")
    for metric, shown in blocks.items():
        drawing.text(12, top + 14, f"{metric}, difference in points", "strong")
        top += HEAD
        for model, effect in shown:
            middle = top + row - ROW / 2
            line, room = (top + 14, width - 24) if narrow else (middle + 4, left - 6)
            numbers = change(effect)
            label = shortened(model.name, room - (width_of(numbers) if narrow else 12))
            drawing.text(12, line, label, full=model.name)
            drawing.text(width - 12, line, numbers, "muted", anchor="end")
            _marks(drawing, f"{model.name}, {metric}", effect, model.role == "control", axis, middle)
            top += row
        top += GAP
    return drawing


def _marks(drawing: Drawing, what: str, effect: MetricEffect, control: bool, axis: Scale, middle: float) -> None:
    """Draw the intervals, the mean and the seeds of one row."""
    seeds, combined = effect.seeds, effect.combined
    style, shape = ("control", "diamond") if control else ("variant", "square")
    if combined:
        low, high = axis(combined.low), axis(combined.high)
        tip = f"{what}: 95 % confidence interval over seeds and test images {interval(combined)}"
        drawing.line(low, middle, high, middle, style, tip)
        for end in (low, high):
            drawing.line(end, middle - 6, end, middle + 6, style)
    if seeds.low is not None and seeds.high is not None:
        tip = f"{what}: 95 % confidence interval over seeds {interval(seeds)}"
        drawing.line(axis(seeds.low), middle, axis(seeds.high), middle, f"{style} thick", tip)
    few = seeds.n < MIN_SEEDS
    for value in seeds.values:
        tip = f"{what}, one seed: {signed(value)}"
        drawing.marker(axis(value), middle if few else middle + 10, "circle", f"{style} hollow", tip, size=2.6)
    if not few:
        drawing.marker(axis(seeds.mean), middle, shape, f"{style} hollow", f"{what}: mean {signed(seeds.mean)}")
