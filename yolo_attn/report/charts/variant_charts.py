"""Small charts, one for each variant beside the baseline: training curves, differences by class and size, errors.

One chart for each model stays readable with ten of them and on a phone, where ten lines in one chart do not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..number_format import interval, signed, whole
from ..training_curves import band
from .svg import Drawing, scale, shortened, tick, width_of

WIDTH = 400.0
CURVE = 230.0
ROW = 24.0


def curve(
    base: Mapping[str, Any], model: Mapping[str, Any] | None, column: str, what: str, name: str, factor: float = 1.0
) -> Drawing | None:
    """Return what was measured after each epoch: a line for the mean, a band from the lowest to the highest seed.

    Args:
        base: The baseline, as in the results.
        model: The variant; None draws the baseline alone.
        column: Which column of the curves.
        what: What it is, in words.
        name: Id of the drawing.
        factor: Multiplies the values.
    """
    bands = []
    for item, style in ((base, "base"), (model, "variant")):
        found = band(item["curves"].get(column, [])) if item is not None else []
        if item is not None and found:
            rows = [(e, factor * low, factor * mean, factor * high) for e, low, mean, high in found]
            bands.append((item, style, rows))
    if not bands or (model is not None and len(bands) < 2):
        return None
    titles = " and ".join(item["title"] for item, _, _ in bands)
    seeds = max(len(item["seeds"]) for item, _, _ in bands)
    text = "the mean over the seeds, and a band from the lowest to the highest seed" if seeds > 1 else "one seed"
    drawing = Drawing(name, WIDTH, CURVE, f"{what} by epoch: {titles}", f"Lines of {titles} over the epochs: {text}.")
    left, right, top, bottom = 46.0, WIDTH - 12.0, 44.0, CURVE - 34.0
    last = max(rows[-1][0] for _, _, rows in bands)
    across = scale([1, max(last, 2)], left, right, margin=0.01)
    up = scale([v for _, _, rows in bands for _, low, _, high in rows for v in (low, high)], bottom, top, least=1e-3)
    for value in up.ticks(5):
        drawing.line(left, up(value), right, up(value), "axis")
        drawing.text(left - 6, up(value) + 4, tick(value), "muted small", anchor="end")
    for value in across.ticks(6):
        if value == int(value):
            drawing.text(across(value), bottom + 16, tick(value), "muted small", anchor="middle")
    drawing.text(right, CURVE - 4, "epoch", "muted small", anchor="end")
    for item, style, rows in bands:
        if len(rows) > 1 and len(item["seeds"]) > 1:
            edge = [(across(e), up(high)) for e, _, _, high in rows]
            edge += [(across(e), up(low)) for e, low, _, _ in reversed(rows)]
            drawing.polygon(edge, f"{style} band")
        tip = f"{item['title']}: {rows[-1][2]:.4g} after epoch {rows[-1][0]}"
        points = [(across(e), up(mean)) for e, _, mean, _ in rows]
        if len(points) == 1:
            drawing.marker(*points[0], "square" if style == "base" else "circle", style, tip)
        else:
            drawing.polyline(points, f"{style} {'dashed' if style == 'base' else ''}".strip(), tip)
    _key(drawing, [(item["title"], style) for item, style, _ in bands])
    return drawing


def _key(drawing: Drawing, entries: Sequence[tuple[str, str]]) -> None:
    """Write whose line is which, above the chart."""
    room = (WIDTH - 24) / len(entries)
    for index, (text, style) in enumerate(entries):
        x = 12 + index * room
        drawing.line(x, 20, x + 24, 20, f"{style} {'dashed' if style == 'base' else ''}".strip())
        drawing.text(x + 30, 24, shortened(text, room - 36, 12), "label", full=text)


def changes(model: Mapping[str, Any], rows: Sequence[tuple[str, Mapping[str, Any]]], name: str) -> Drawing:
    """Return differences to the baseline with intervals, a row each: of sizes, or of classes.

    Args:
        model: The variant, as in the results.
        rows: Label and effect of each.
        name: Id of the drawing.
    """
    height = 34 + ROW * len(rows) + 26
    drawing = Drawing(
        name,
        WIDTH,
        height,
        f"{model['title']}: differences to the baseline",
        "Mean difference in points and its 95 % interval: "
        + "; ".join(f"{label} {signed(found['seeds']['mean'])}" for label, found in rows)
        + ".",
    )
    left = min(max(112.0, 24 + max(width_of(label, 12) for label, _ in rows)), 180.0)
    right = WIDTH - 62.0
    values = [0.0]
    for _, found in rows:
        ends = whole(found)
        values += [v for v in (found["seeds"]["mean"], ends["low"], ends["high"]) if v is not None]
    axis = scale(values, left, right, least=1.0)
    bottom = 30 + ROW * len(rows)
    drawing.text(12, 20, shortened(model["title"], WIDTH - 24), "strong", full=model["title"])
    for value in axis.ticks(4):
        drawing.line(axis(value), 32, axis(value), bottom, "axis")
        drawing.text(axis(value), bottom + 15, tick(value), "muted small", anchor="middle")
    drawing.line(axis(0), 32, axis(0), bottom, "zero")
    for index, (label, found) in enumerate(rows):
        middle = 34 + ROW * (index + 0.5)
        seeds, ends = found["seeds"], whole(found)
        up = seeds["mean"] >= 0
        style = "better" if up else "worse"
        tip = f"{label}: {signed(seeds['mean'])} ({interval(ends)})"
        drawing.text(12, middle + 4, shortened(label, left - 22, 12), "label", full=label)
        drawing.text(WIDTH - 12, middle + 4, signed(seeds["mean"]), "label muted", anchor="end")
        if ends["low"] is not None:
            drawing.line(axis(ends["low"]), middle, axis(ends["high"]), middle, style, tip)
        sure = ends["low"] is not None and ends["low"] * ends["high"] > 0
        drawing.marker(axis(seeds["mean"]), middle, "up" if up else "down", style if sure else f"{style} hollow", tip)
    return drawing


def errors(base: Mapping[str, Any], model: Mapping[str, Any], kinds: Sequence[str], name: str, most: float) -> Drawing:
    """Return what each kind of error costs: a bar for the model, a mark for the baseline.

    Args:
        base: The baseline, as in the results.
        model: The model.
        kinds: The kinds.
        name: Id of the drawing.
        most: The highest cost among all models, from 0 to 1, so that charts can be compared.
    """
    mine, its = model["error_kinds"]["dap"], base["error_kinds"]["dap"]
    height = 40 + ROW * len(kinds) + 26
    drawing = Drawing(
        name,
        WIDTH,
        height,
        f"{model['title']}: what each kind of error costs",
        "Points of AP50 that would be gained without it: "
        + "; ".join(f"{kind} {100 * mine[kind]:.1f}, baseline {100 * its[kind]:.1f}" for kind in kinds)
        + ".",
    )
    left, right = 112.0, WIDTH - 62.0
    axis = scale([0.0, max(100 * most, 1.0)], left, right, margin=0.0)
    bottom = 38 + ROW * len(kinds)
    text = shortened(model["title"], WIDTH - 24 - width_of("│ baseline", 12))
    drawing.text(12, 20, text, "strong", full=model["title"])
    for value in axis.ticks(5):
        drawing.line(axis(value), 38, axis(value), bottom, "axis")
        drawing.text(axis(value), bottom + 15, tick(value), "muted small", anchor="middle")
    for index, kind in enumerate(kinds):
        middle = 40 + ROW * (index + 0.5)
        tip = f"{kind}: {100 * mine[kind]:.2f} points, baseline {100 * its[kind]:.2f}"
        drawing.text(12, middle + 4, kind, "label")
        drawing.text(WIDTH - 12, middle + 4, f"{100 * mine[kind]:.1f}", "label muted", anchor="end")
        drawing.rectangle(left, middle - 7, axis(100 * mine[kind]) - left, 14, "bar", tip)
        if model is not base:
            drawing.line(axis(100 * its[kind]), middle - 10, axis(100 * its[kind]), middle + 10, "mark", tip)
    if model is not base:
        drawing.line(WIDTH - 84, 11, WIDTH - 84, 25, "mark")
        drawing.text(WIDTH - 12, 22, "baseline", "muted small", anchor="end")
    return drawing
