"""The forest plot: each model's difference to the baseline with its confidence intervals."""

from __future__ import annotations

from collections.abc import Sequence

from ...experiment.results import ModelResult
from ...messages import counted
from ..number_format import change, interval, signed
from .svg import Drawing, Scale, scale, shortened, width_of

ROW, HEAD, FOOT, GAP = 34.0, 26.0, 44.0, 12.0
NARROW = 500.0  # px, below which a label is above its row


def forest(models: Sequence[ModelResult], metrics: Sequence[str], width: float, name: str) -> Drawing:
    """Draw the plot.

    Args:
        models: Models with an effect.
        metrics: The metrics, one block each.
        width: Width in px.
        name: Id of the drawing.
    """
    narrow = width < NARROW
    row = ROW + 10 if narrow else ROW
    labels = max([width_of(model.name) for model in models], default=0)
    left = 12.0 if narrow else min(labels + 24, 0.3 * width)
    right = width - (12.0 if narrow else 190.0)
    blocks = [(metric, [model for model in models if model.change(metric)]) for metric in metrics]
    blocks = [(metric, shown) for metric, shown in blocks if shown]
    height = sum(HEAD + row * len(shown) + GAP for _, shown in blocks) + FOOT
    drawing = Drawing(
        name,
        width,
        height,
        "Differences to the baseline with 95 % confidence intervals",
        f"{counted(len(models), 'model')}; each row shows the mean difference in points, a thick line for the interval "
        "over seeds and a thin line with ends for the interval over seeds and test images. The table of differences "
        "has the same numbers.",
    )
    axis = _axis(blocks, left, right)
    top, bottom = 6.0, height - FOOT
    drawing.x_axis(axis, top + 16, bottom, 5 if narrow else 8)
    drawing.line(axis(0), top + 16, axis(0), bottom, "zero")
    drawing.text(left, bottom + 34, "← worse than the baseline", "muted small")
    drawing.text(right, bottom + 34, "better →", "muted small", anchor="end")
    for metric, shown in blocks:
        drawing.text(12, top + 14, f"{metric}, difference in points", "strong")
        top += HEAD
        for model in shown:
            middle = top + row - ROW / 2
            line, room = (top + 14, width - 24) if narrow else (middle + 4, left - 6)
            numbers = change(model.change(metric))
            label = shortened(model.name, room - (width_of(numbers) if narrow else 12))
            drawing.text(12, line, label, full=model.name)
            drawing.text(width - 12, line, numbers, "muted", anchor="end")
            _marks(drawing, model, metric, axis, middle)
            top += row
        top += GAP
    return drawing


def _marks(drawing: Drawing, model: ModelResult, metric: str, axis: Scale, middle: float) -> None:
    """Draw the intervals, the mean and the seeds of one row."""
    effect = model.change(metric)
    assert effect is not None, "only models with an effect have a row"
    seeds, combined = effect.seeds, effect.combined
    style, what = "control" if model.role == "control" else "variant", f"{model.name}, {metric}"
    if combined:
        low, high = axis(combined.low), axis(combined.high)
        tip = f"{what}: 95 % confidence interval over seeds and test images {interval(combined)}"
        drawing.line(low, middle, high, middle, style, tip)
        for end in (low, high):
            drawing.line(end, middle - 6, end, middle + 6, style)
    if seeds.low is not None and seeds.high is not None:
        tip = f"{what}: 95 % confidence interval over seeds {interval(seeds)}"
        drawing.line(axis(seeds.low), middle, axis(seeds.high), middle, f"{style} thick", tip)
    for value in seeds.values:
        drawing.marker(
            axis(value), middle + 10, "circle", f"{style} hollow", f"{what}, one seed: {signed(value)}", size=2.6
        )
    shape = "diamond" if style == "control" else "square"
    drawing.marker(axis(seeds.mean), middle, shape, f"{style} hollow", f"{what}: mean {signed(seeds.mean)}")


def _axis(blocks: Sequence[tuple[str, Sequence[ModelResult]]], left: float, right: float) -> Scale:
    """Return an axis that shows 0 and all marks."""
    values = [0.0]
    for metric, shown in blocks:
        for model in shown:
            if effect := model.change(metric):
                ends = [end for part in (effect.seeds, effect.combined) if part for end in (part.low, part.high)]
                values += [*effect.seeds.values, *(end for end in ends if end is not None)]
    return scale(values, left, right, least=0.4)
