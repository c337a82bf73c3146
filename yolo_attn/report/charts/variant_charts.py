"""Small charts, one for each variant next to the baseline: training curves, differences by class and size, errors.

One chart per model stays readable with ten models and on a phone; ten lines in one chart do not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ...experiment.results import MeanErrors, ModelResult
from ...messages import joined
from ...metrics import KINDS
from ...statistics import MetricEffect
from ...statistics.seed_differences import MIN_SEEDS
from ..number_format import change, mean_and_sd, signed
from ..training_curves import band
from .svg import SMALL, Drawing, scale, shortened, tick, width_of

WIDTH = 400.0
CURVE = 230.0
ROW = 24.0


def curve_chart(
    models: Sequence[ModelResult], column: str, what: str, name: str, factor: float = 1.0
) -> Drawing | None:
    """Draw a metric after each epoch: a line for the mean, a band from the lowest to the highest seed.

    Args:
        models: The baseline, and a variant or none.
        column: Column of the curves; without it in a model, there is no drawing.
        what: What it is called in the chart.
        name: Id of the drawing.
        factor: Multiplies the values.
    """
    bands = [
        [(epoch, *(factor * value for value in values)) for epoch, *values in band(model.curves.get(column, []))]
        for model in models
    ]
    if not all(bands):
        return None
    names = joined((model.name for model in models), " and ")
    seeds = max(len(model.seeds) for model in models)
    text = "the mean over the seeds, and a band from the lowest to the highest seed" if seeds > 1 else "one seed"
    drawing = Drawing(name, WIDTH, CURVE, f"{what} by epoch: {names}", f"Lines of {names} over the epochs: {text}.")
    left, right, top, bottom = 46.0, WIDTH - 12.0, 44.0, CURVE - 34.0
    across = scale([1, max(2, *(rows[-1][0] for rows in bands))], left, right, margin=0.01)
    up = scale([v for rows in bands for _, low, _, high in rows for v in (low, high)], bottom, top, least=1e-3)
    drawing.y_axis(up, left, right, 5)
    for epoch in across.ticks(6):
        if epoch == round(epoch):
            drawing.text(across(epoch), bottom + 16, tick(epoch), "muted small", anchor="middle")
    drawing.text(right, CURVE - 4, "epoch", "muted small", anchor="end")
    room = (WIDTH - 24) / len(models)
    for index, (model, rows) in enumerate(zip(models, bands, strict=True)):
        style, line, marker = ("variant", "variant", "circle") if index else ("base", "base dashed", "square")
        if len(rows) > 1 and len(model.seeds) > 1:
            edge = [(across(epoch), up(high)) for epoch, _, _, high in rows]
            drawing.polygon(edge + [(across(epoch), up(low)) for epoch, low, _, _ in reversed(rows)], f"{style} band")
        tip = f"{model.name}: {rows[-1][2]:.4g} after epoch {rows[-1][0]}"
        means = [(across(epoch), up(mean)) for epoch, _, mean, _ in rows]
        if len(means) == 1:
            drawing.marker(*means[0], marker, style, tip)
        else:
            drawing.polyline(means, line, tip)
        x = 12 + index * room  # the legend, above the chart
        drawing.line(x, 20, x + 24, 20, line)
        drawing.text(x + 30, 24, shortened(model.name, room - 36, SMALL), "label", full=model.name)
    return drawing


def ends_of(rows: Mapping[str, MetricEffect]) -> list[float]:
    """Return all numbers that :func:`changes_chart` draws."""
    ends = [end for found in rows.values() for end in (*_shown(found), found.interval.low, found.interval.high)]
    return [end for end in ends if end is not None]


def _shown(found: MetricEffect) -> Sequence[float]:
    """Return the mean; below three seeds each seed."""
    return found.seeds.values if found.seeds.n < MIN_SEEDS else [found.seeds.mean]


def changes_chart(model: ModelResult, rows: Mapping[str, MetricEffect], name: str, ends: Sequence[float]) -> Drawing:
    """Draw a variant's differences to the baseline with confidence intervals, a row for each label in ``rows``.

    The axis shows all of ``ends``, so that the charts of all variants have the same one.
    """
    drawing = Drawing(
        name,
        WIDTH,
        34 + ROW * len(rows) + 26,
        f"{model.name}: differences to the baseline",
        "Mean difference in points with its 95 % confidence interval: "
        f"{joined(f'{label} {change(found)}' for label, found in rows.items())}.",
    )
    left = min(max(112.0, 24 + max(width_of(label, SMALL) for label in rows)), 180.0)
    axis = scale([0.0, *ends], left, WIDTH - 62.0, least=1.0)
    bottom = 30 + ROW * len(rows)
    drawing.text(12, 20, shortened(model.name, WIDTH - 24), "strong", full=model.name)
    drawing.x_axis(axis, 32, bottom, 4)
    drawing.line(axis(0), 32, axis(0), bottom, "zero")
    for index, (label, found) in enumerate(rows.items()):
        middle = 34 + ROW * (index + 0.5)
        mean, low, high = found.seeds.mean, found.interval.low, found.interval.high
        style, shape = ("better", "up") if mean >= 0 else ("worse", "down")
        tip = f"{label}: {change(found)}"
        drawing.text(12, middle + 4, shortened(label, left - 22, SMALL), "label", full=label)
        drawing.text(WIDTH - 12, middle + 4, signed(mean), "label muted", anchor="end")
        clear = False  # whether the interval excludes 0
        if low is not None and high is not None:
            drawing.line(axis(low), middle, axis(high), middle, style, tip)
            clear = low * high > 0
        if found.seeds.n < MIN_SEEDS:
            shape = "circle"
        for value in _shown(found):
            drawing.marker(axis(value), middle, shape, style if clear else f"{style} hollow", tip)
    return drawing


def errors_chart(model: ModelResult, base: ModelResult | None, name: str, most: float) -> Drawing:
    """Draw the cost of each kind of error: a bar for the model, a mark for the baseline, if it is not the model.

    A thin line goes from the lowest to the highest seed. ``most`` is the highest cost of any run, from 0 to 1, so that
    charts have the same scale.
    """
    assert model.errors is not None, "the caller has checked it"
    mine, its = model.errors, base.errors if base else None
    texts = {
        kind: f"{kind} {mean_and_sd(mine.dap[kind])}" + (f", baseline {mean_and_sd(its.dap[kind])}" if its else "")
        for kind in KINDS
    }
    drawing = Drawing(
        name,
        WIDTH,
        40 + ROW * len(KINDS) + 26,
        f"{model.name}: cost of each kind of error",
        f"Points of AP50 gained if fixed: {'; '.join(texts.values())}.",
    )
    left, bottom = 112.0, 38 + ROW * len(KINDS)
    axis = scale([0.0, max(100 * most, 1.0)], left, WIDTH - 84.0, margin=0.0)
    room = WIDTH - 24 - width_of("│ baseline", SMALL)
    drawing.text(12, 20, shortened(model.name, room), "strong", full=model.name)
    drawing.x_axis(axis, 38, bottom, 5)
    for index, kind in enumerate(KINDS):
        middle = 40 + ROW * (index + 0.5)
        drawing.text(12, middle + 4, kind, "label")
        drawing.text(WIDTH - 12, middle + 4, mean_and_sd(mine.dap[kind]), "label muted", anchor="end")
        drawing.rectangle(left, middle - 8, axis(_mean(mine, kind)) - left, 13, "bar", texts[kind])
        for errors, y, style in ((mine, middle - 1.5, "variant"), (its, middle + 8, "base")):
            if errors and len(errors.dap[kind].values) > 1:
                low, high = (axis(100 * end(v for v in errors.dap[kind].values if v is not None)) for end in (min, max))
                drawing.line(low, y, high, y, style, texts[kind])
        if its:
            drawing.line(axis(_mean(its, kind)), middle - 10, axis(_mean(its, kind)), middle + 10, "mark", texts[kind])
    if its:
        drawing.line(WIDTH - 84, 11, WIDTH - 84, 25, "mark")
        drawing.text(WIDTH - 12, 22, "baseline", "muted small", anchor="end")
    return drawing


def _mean(errors: MeanErrors, kind: str) -> float:
    return 100 * (errors.dap[kind].mean or 0.0)
