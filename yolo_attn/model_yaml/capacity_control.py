"""Widen the base model until it is as large as a variant."""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..errors import ArgumentError

MEASURES = ("parameters", "gflops")
MULTIPLE = 8  # parse_model rounds channel counts up to multiples of this
NEIGHBOURS = 2  # candidates on each side of the goal: now and then a larger width gives a smaller model
FACTOR = 4.0  # of the base's width, in both directions
FAR = 0.25  # of the goal; a control that differs by more is useless


@dataclass(frozen=True, slots=True)
class Widened:
    """The base at the width that brings it closest to a goal.

    Attributes:
        content: The model YAML's content.
        width: The width multiple; the base's own if no other brings it closer.
        before: The base's width multiple.
        size: Parameters of the content, or its operations in billions.
    """

    content: dict[str, Any]
    width: float
    before: float
    size: float


def widened(base: dict[str, Any], goal: float, measure: str = "parameters") -> Widened:
    """Return the base at the width that brings its size closest to ``goal``.

    Channel counts are multiples of 8, so sizes come in steps. Every width that gives another model is a candidate.

    Args:
        base: Content of a model YAML, loaded with its scale.
        goal: Parameters, or operations in billions.
        measure: ``"parameters"`` or ``"gflops"`` (at 640 px); see :mod:`yolo_attn.integration.queries.model_sizes`.

    Raises:
        ArgumentError: If no width from a quarter to four times the base's comes near.
        LayerError: If the base cannot be built.
    """
    from ..integration.queries import model_graph, model_sizes  # start-up time

    measured: Callable[[dict[str, Any]], float] = (
        model_sizes.parameters if measure == "parameters" else model_sizes.gflops
    )
    before = width_of(base)
    own = measured(base)

    @functools.cache
    def size(width: float) -> float | None:
        changed = with_width(base, width)
        try:
            model_graph.build(
                changed
            )  # some layers cannot split their channels among their heads, and fail only when run
            return measured(changed)
        except Exception:  # of the layers, which raise errors of many types
            return None

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
    near = [w for w in widths[max(low - NEIGHBOURS, 0) : low + NEIGHBOURS] if size(w) is not None]
    sizes = {w: size(w) or own for w in near} | {before: own}
    best = min(sizes, key=lambda w: (abs(sizes[w] - goal), abs(w - before)))
    if abs(sizes[best] / goal - 1) > FAR:
        raise ArgumentError(
            f"control=capacity: at no width from {before / FACTOR:g} to {before * FACTOR:g} is the base within "
            f"{FAR:.0%} of {goal:.4g} {measure}; use control=identity or control=repeat"
        )
    return Widened(with_width(base, best), best, before, sizes[best])


def candidates(model: dict[str, Any]) -> list[float]:
    """Return the widths that give different models, in order: from each to the next, a row gains 8 channels."""
    before = width_of(model)
    scale = _scale(model)
    limit = scale[2] if scale else math.inf
    arguments = [a for part in ("backbone", "head") for row in model[part] for a in row[3][:1]]
    counts = {min(a, limit) for a in arguments if isinstance(a, int) and not isinstance(a, bool) and a >= MULTIPLE}
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


def _scale(model: dict[str, Any]) -> list[Any] | None:
    """Return depth, width and largest channel count of the model's scale; None if it has no scales."""
    scales = model.get("scales")
    if not scales:
        return None
    found: list[Any] = scales[model.get("scale") or next(iter(scales))]
    return found
