"""The forest plot: each model's difference to the baseline with its intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..number_format import NONE, counted, interval, signed
from ..tables import effect
from .svg import Drawing, Scale, scale, shortened, tick, width_of

ROW, HEAD, FOOT, GAP = 34.0, 26.0, 44.0, 12.0
NARROW = 500.0  # px below which labels stand above their row


def forest(models: Sequence[Mapping[str, Any]], figures: Sequence[str], width: float, name: str) -> Drawing:
    """Return the plot.

    Args:
        models: As in the results, those with an effect.
        figures: Which figures, one block each.
        width: px.
        name: Id of the drawing.
    """
    narrow = width < NARROW
    row = ROW + 10 if narrow else ROW
    labels = max([width_of(model["title"]) for model in models], default=0)
    left = 12.0 if narrow else min(labels + 24, 0.3 * width)
    right = width - (12.0 if narrow else 190.0)
    blocks = [(figure, [model for model in models if effect(model, figure)]) for figure in figures]
    blocks = [(figure, shown) for figure, shown in blocks if shown]
    height = sum(HEAD + row * len(shown) + GAP for _, shown in blocks) + FOOT
    found = [effect(model, figure) for figure, shown in blocks for model in shown]
    axis = _axis([item for item in found if item], left, right)
    drawing = Drawing(
        name,
        width,
        height,
        "Differences to the baseline with 95 % intervals",
        f"{counted(len(models), 'model')}; each row gives the mean difference in points, a thick line for the interval "
        "over seeds and a thin line with ends for the interval over seeds and test images. The same numbers are in "
        "the table of effects.",
    )
    top = 6.0
    bottom = height - FOOT
    for value in axis.ticks(5 if narrow else 8):
        drawing.line(axis(value), top + 16, axis(value), bottom, "axis")
        text = signed(value) if axis.high - axis.low > 1 else tick(value)
        drawing.text(axis(value), bottom + 16, text, "muted small", anchor="middle")
    drawing.line(axis(0), top + 16, axis(0), bottom, "zero")
    drawing.text(left, bottom + 34, "← worse than the baseline", "muted small")
    drawing.text(right, bottom + 34, "better →", "muted small", anchor="end")
    for figure, shown in blocks:
        drawing.text(12, top + 14, f"{figure}, points", "strong")
        top += HEAD
        for model in shown:
            _row(drawing, model, figure, axis, top, row, narrow=narrow, left=left, width=width)
            top += row
        top += GAP
    return drawing


def _row(
    drawing: Drawing,
    model: Mapping[str, Any],
    figure: str,
    axis: Scale,
    top: float,
    row: float,
    *,
    narrow: bool,
    left: float,
    width: float,
) -> None:
    found = effect(model, figure)
    assert found is not None, "only models with an effect are drawn"
    seeds, combined = found["seeds"], found["combined"]
    middle = top + row - ROW / 2
    ends = interval(combined or seeds)
    numbers = signed(seeds["mean"]) + (f"  ({ends})" if ends != NONE else "")
    label = shortened(model["title"], (width - 24 - width_of(numbers)) if narrow else left - 18)
    drawing.text(12, top + 14 if narrow else middle + 4, label, full=model["title"])
    drawing.text(width - 12, top + 14 if narrow else middle + 4, numbers, "muted", anchor="end")
    style = "control" if model["role"] == "control" else "variant"
    if combined and combined["low"] is not None:
        low, high = axis(combined["low"]), axis(combined["high"])
        tip = f"{model['title']}, {figure}: 95 % interval over seeds and test images {interval(combined)}"
        drawing.line(low, middle, high, middle, style, tip)
        for end in (low, high):
            drawing.line(end, middle - 6, end, middle + 6, style)
    if seeds["low"] is not None:
        tip = f"{model['title']}, {figure}: 95 % interval over seeds {interval(seeds)}"
        drawing.line(axis(seeds["low"]), middle, axis(seeds["high"]), middle, f"{style} thick", tip)
    for value in seeds["values"]:
        if value is not None:
            tip = f"{model['title']}, {figure}, one seed: {signed(value)}"
            drawing.marker(axis(value), middle + 10, "circle", f"{style} hollow", tip, size=2.6)
    shape = "diamond" if style == "control" else "square"
    tip = f"{model['title']}, {figure}: mean {signed(seeds['mean'])}"
    drawing.marker(axis(seeds["mean"]), middle, shape, f"{style} hollow", tip)


def _axis(found: Sequence[Mapping[str, Any]], left: float, right: float) -> Scale:
    """Return an axis on which 0 and all that is drawn are seen."""
    values, ends = [0.0], []
    for item in found:
        values += [value for value in (*item["seeds"]["values"], item["seeds"]["mean"]) if value is not None]
        ends += [end for part in ("seeds", "combined") if item[part] for end in (item[part]["low"], item[part]["high"])]
    ends = [end for end in ends if end is not None]
    return scale([*values, *ends], left, right, least=0.4)
