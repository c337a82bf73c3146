"""Widen the base model until it is as large as a variant."""

from __future__ import annotations

import copy
import functools
import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import ArgumentError, LayerError

MULTIPLE = 8  # parse_model rounds channel counts up to multiples of this
NEIGHBOURS = 2  # candidates on each side of the goal: now and then a larger width gives a smaller model
FACTOR = 4.0  # of the base's width, in both directions
FAR = 0.25  # of the goal; a control that differs by more is useless
MOST_ROWS = 6  # to change besides the width
CLOSE = 0.01  # of the goal; a control this close is not changed further


@dataclass(frozen=True, slots=True)
class Widened:
    """The base at the width that brings it closest to a goal.

    Attributes:
        content: The model YAML's content.
        width: The width multiple.
        before: The base's width multiple.
        rows: Rows that have 8 channels more (or fewer, if the number is negative) than the width gives them.
        size: Parameters of the content, or its operations in billions.
    """

    content: dict[str, Any]
    width: float
    before: float
    rows: dict[int, int]
    size: float


def widened(base: dict[str, Any], goal: float, measure: str = "parameters") -> Widened:
    """Return the base at the width that brings its size closest to ``goal``.

    Channel counts are multiples of 8, so sizes come in steps. Every width that gives another model is a candidate. If
    the best one is not within 1 % of the goal, single rows get 8 channels more or fewer.

    Args:
        base: Content of a model YAML, loaded with its scale.
        goal: Parameters, or operations in billions.
        measure: ``"parameters"`` or ``"gflops"`` (at 640 px); see :mod:`yolo_attn.integration.queries.model_sizes`.

    Raises:
        ArgumentError: If no width from a quarter to four times the base's comes near.
        LayerError: If the base cannot be built.
    """
    from ..integration.queries import layer_types, model_graph, model_sizes  # start-up time

    measured: Callable[[dict[str, Any]], float] = getattr(model_sizes, measure)

    def size_of(model: dict[str, Any]) -> float | None:
        try:
            if measure == "parameters":  # some layers cannot split their channels among their heads, and fail when run
                model_graph.build(model)
            return measured(model)
        except LayerError:
            return None
        except Exception:  # Ultralytics' layers raise errors of many types
            if layer_types.names_any(model):
                raise  # a fault of a layer
            return None

    @functools.cache
    def size(width: float) -> float | None:
        return size_of(with_width(base, width))

    before = width_of(base)
    widths = candidates(base)
    low, high = 0, len(widths)
    while low < high:  # find the first width that reaches the goal
        middle = (low + high) // 2
        found = size(widths[middle])
        if found is None:
            del widths[middle]
            high -= 1
        else:
            low, high = (middle + 1, high) if found < goal else (low, middle)
    near = widths[max(low - NEIGHBOURS, 0) : low + NEIGHBOURS]
    sizes = {w: found for w in near if (found := size(w)) is not None} | {before: measured(base)}
    best = min(sizes, key=lambda w: (abs(sizes[w] - goal), abs(w - before)))
    if abs(sizes[best] / goal - 1) > FAR:
        raise ArgumentError(
            f"control=capacity: at no width from {before / FACTOR:g} to {before * FACTOR:g} is the base within "
            f"{FAR:.0%} of {goal:.4g} {measure}; use control=identity or control=repeat"
        )
    content = with_width(base, best)
    rows = {} if abs(sizes[best] / goal - 1) <= CLOSE else _rows_to_change(content, goal, sizes[best], size_of)
    tuned = with_channels(content, rows)
    final = size_of(tuned) if rows else None
    if final is None or abs(final - goal) >= abs(sizes[best] - goal):
        return Widened(content, best, before, {}, sizes[best])
    return Widened(tuned, best, before, rows, final)


def _rows_to_change(
    model: dict[str, Any], goal: float, size: float, size_of: Callable[[dict[str, Any]], float | None]
) -> dict[int, int]:
    """Return the rows that bring the size closest to ``goal`` with 8 channels more, or fewer, in each."""
    more = MULTIPLE if size < goal else -MULTIPLE
    steps: dict[int, float] = {}
    for index, row in enumerate([*model["backbone"], *model["head"]]):
        if _is_width(row[3]):
            changed = size_of(with_channels(model, {index: more}))
            if changed is not None and (changed - size) * more > 0:
                steps[index] = changed - size
    subsets = (rows for count in range(MOST_ROWS + 1) for rows in itertools.combinations(steps, count))
    best = min(subsets, key=lambda rows: round(abs(size + sum(steps[row] for row in rows) - goal) / goal, 3))
    return dict.fromkeys(best, more)  # of subsets that are equally close, the first has the fewest rows


def with_channels(model: dict[str, Any], more: Mapping[int, int]) -> dict[str, Any]:
    """Return the model with ``more`` output channels in rows, by the row's index."""
    changed = copy.deepcopy(model)
    width, limit = width_of(model), _limit(model)
    rows = [*changed["backbone"], *changed["head"]]
    for index, channels in more.items():
        arguments = rows[index][3]
        built = math.ceil(min(arguments[0], limit) * width / MULTIPLE) * MULTIPLE
        arguments[0] = math.floor((built + channels) / width + 1e-6)
    return changed


def _is_width(arguments: list[Any]) -> bool:
    """Return whether a row's first argument is its number of output channels."""
    return bool(arguments) and type(arguments[0]) is int and arguments[0] >= MULTIPLE


def candidates(model: dict[str, Any]) -> list[float]:
    """Return the widths that give different models, in order: from each to the next, a row gains 8 channels."""
    before = width_of(model)
    rows = [*model["backbone"], *model["head"]]
    counts = {min(row[3][0], _limit(model)) for row in rows if _is_width(row[3])}
    steps = {
        # six digits, rounded down: at width k * 8 / c a row of c channels has 8 * k
        math.floor(k * MULTIPLE / c * 1e6) / 1e6
        for c in counts
        for k in range(1, math.ceil(before * FACTOR * c / MULTIPLE) + 1)
    }
    return sorted({w for w in steps if before / FACTOR <= w <= before * FACTOR} | {before})


def width_of(model: dict[str, Any]) -> float:
    """Return the width multiple at the model's scale."""
    scale = _scale(model)
    return float(scale[1] if scale else model.get("width_multiple", 1.0))


def with_width(model: dict[str, Any], width: float) -> dict[str, Any]:
    """Return the model with another width multiple at its scale."""
    changed = copy.deepcopy(model)
    scale = _scale(changed)
    if scale is None:
        return {**changed, "width_multiple": width}
    scale[1] = width
    return changed


def _limit(model: dict[str, Any]) -> float:
    """Return the largest channel count before the width multiple."""
    scale = _scale(model)
    return float(scale[2]) if scale else math.inf


def _scale(model: dict[str, Any]) -> list[Any] | None:
    """Return depth, width and largest channel count of the model's scale; None if it has no scales."""
    scales = model.get("scales")
    if not scales:
        return None
    found: list[Any] = scales[model.get("scale") or next(iter(scales))]
    return found
