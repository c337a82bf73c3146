"""COCO's average precision of resampled sets of images, without evaluating them anew.

A set of images drawn with replacement is the same set with whole numbers as weights, and which prediction finds which
object does not change. Precision only peaks where an object is found, so the counts are needed there alone. With all
weights 1 the figures are the evaluator's, to rounding; with others they are the evaluator's of the set in which an
image of weight w stands w times. Predictions of one score are taken image by image, the copies of one side by side.

What the interval says: how the figures of these trained models would differ on other images of the same kind. It knows
nothing of other seeds.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from ..metrics.matching import AREAS, THRESHOLDS, Matches, Truth

if TYPE_CHECKING:
    from numpy.typing import NDArray

RECALLS = np.linspace(0.0, 1.0, 101)
BLOCK = 1 << 18  # numbers that are worked on at a time, to stay in the processor's cache
MAX_THREADS = 8

# figure -> the area, and the thresholds it is the mean over
FIGURES = {
    "AP": ("all", slice(None)),
    "AP50": ("all", slice(0, 1)),
    "AP75": ("all", slice(5, 6)),
    "AP_small": ("small", slice(None)),
    "AP_medium": ("medium", slice(None)),
    "AP_large": ("large", slice(None)),
}
PER_CLASS = ("AP", "AP50", "AP75")


def draw(images: int, resamples: int, seed: int) -> NDArray[np.int32]:
    """Return how often each image was drawn: ``(resamples, images)``, every row of the sum ``images``.

    Args:
        images: Number of images, drawn with equal chance and put back.
        resamples: Number of sets.
        seed: Of NumPy's generator; the same gives the same.
    """
    chances = np.full(images, 1 / images)
    return np.random.default_rng(seed).multinomial(images, chances, size=resamples).astype(np.int32)


def names(truth: Truth) -> list[str]:
    """Return the figures that :func:`resampled` computes, as ``AP``, ``AP_small`` and ``AP[person]``."""
    return [*FIGURES, *(f"{figure}[{name}]" for name in truth.names for figure in PER_CLASS)]


def resampled(
    truth: Truth, matches: Sequence[Matches], weights: NDArray[np.int32], wanted: Sequence[str] | None = None
) -> dict[str, NDArray[np.float64]]:
    """Return figures of every weighted set of images.

    Args:
        truth: The objects.
        matches: Those of each class, by :func:`yolo_attn.metrics.matching.match`.
        weights: ``(sets, images)``, how often each image counts.
        wanted: Some of :func:`names`; all if None. Without a size, the sizes cost no time.

    Returns:
        By name ``(sets,)``, from 0 to 1; NaN where a set has no object to find.
    """
    chosen = names(truth) if wanted is None else list(wanted)
    whole = [figure for figure in FIGURES if figure in chosen or any(name.startswith(f"{figure}[") for name in chosen)]
    areas = sorted({list(AREAS).index(FIGURES[figure][0]) for figure in whole})
    columns = np.ascontiguousarray(weights.T)

    def of_class(number: int) -> list[NDArray[np.float64]]:
        curves = {area: _class_precision(truth, matches[number], number, area, columns) for area in areas}
        return [curves[list(AREAS).index(FIGURES[f][0])][FIGURES[f][1]].mean(axis=0) for f in whole]

    order = sorted(range(len(truth.classes)), key=lambda number: -len(matches[number].near))  # the longest first
    results = np.full((len(whole), len(order), len(weights)), np.nan)
    with ThreadPoolExecutor(_threads()) as pool:
        for number, values in zip(order, pool.map(of_class, order), strict=True):
            results[:, number] = values

    present = ~np.isnan(results)
    with np.errstate(invalid="ignore"):
        means = np.where(present, results, 0.0).sum(axis=1) / present.sum(axis=1)
    found = dict(zip(whole, means, strict=True))
    for row, figure in enumerate(whole):
        if figure in PER_CLASS:
            found |= {f"{figure}[{name}]": results[row, number] for number, name in enumerate(truth.names)}
    return {name: found[name] for name in chosen}


def _threads() -> int:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, MAX_THREADS)


def _class_precision(
    truth: Truth, matches: Matches, number: int, area: int, weights: NDArray[np.int32]
) -> NDArray[np.float64]:
    """Return the 101-point average precision of one class and size, ``(thresholds, sets)``; weights are transposed."""
    from scipy import sparse  # type: ignore[import-untyped]

    sets = weights.shape[1]
    counting = np.flatnonzero((truth.klass == number) & ~truth.ignored[area])
    holding, per_image = np.unique(truth.image[counting], return_counts=True)
    objects = per_image @ weights[holding]  # (sets,)
    result = np.zeros((len(THRESHOLDS), sets))
    result[:, objects == 0] = np.nan
    kept = (matches.right | matches.wrong)[:, area].any(axis=1)
    right, wrong = matches.right[kept, area].T, matches.wrong[kept, area].T  # (thresholds, near)
    if not right.any():
        return result

    # Predictions that overlap no object are wrong at every threshold: between two that do, their sum is enough.
    near = matches.near[kept]
    other = matches.inside[area].copy()
    other[matches.near] = False
    places = np.flatnonzero(other[: near[-1]])
    rows = np.searchsorted(near, places)
    ones = np.ones(len(places), dtype=np.int32)
    between = sparse.csr_matrix((ones, (rows, matches.image[places])), shape=(len(near), len(weights)))
    image = matches.image[near]
    step = max(1, BLOCK // max(len(near), int(objects.max())))
    for start in range(0, sets, step):
        block = slice(start, start + step)
        here = np.ascontiguousarray(weights[:, block])
        strays = np.cumsum((between @ here).T, axis=1, dtype=np.int32)  # (block, near)
        mine = np.ascontiguousarray(here[image].T)
        reached = _recalls_reached(objects[block])
        result[:, block] += _average(mine, strays, right, wrong, reached)
    return result


def _recalls_reached(objects: NDArray[np.int64]) -> NDArray[np.int16]:
    """Return how many of the 101 recalls are reached by finding 0, 1, 2, ... of so many objects: ``(sets, found)``."""
    found = np.arange(int(objects.max()) + 1)
    recall = found / np.maximum(objects, 1)[:, None]
    reached: NDArray[np.int16] = np.searchsorted(RECALLS, recall, side="right").astype(np.int16)
    return reached


def _average(
    weights: NDArray[np.int32],
    strays: NDArray[np.int32],
    right: NDArray[np.bool_],
    wrong: NDArray[np.bool_],
    reached: NDArray[np.int16],
) -> NDArray[np.float64]:
    """Return the 101-point average precision, ``(thresholds, sets)``.

    Args:
        weights: ``(sets, near)``, those of the images of the predictions.
        strays: ``(sets, near)``, how many predictions that overlap no object stand before.
        right: ``(thresholds, near)``.
        wrong: ``(thresholds, near)``.
        reached: ``(sets, found)``.
    """
    averages = np.zeros((len(right), len(weights)))
    flat, offset = reached.ravel(), (np.arange(len(weights)) * reached.shape[1])[:, None]
    for threshold, (good, bad) in enumerate(zip(right, wrong, strict=True)):
        peaks = np.flatnonzero(good)
        if not peaks.size:
            continue
        found = np.cumsum(weights * good, axis=1, dtype=np.int32)[:, peaks]
        counted = np.cumsum(weights * (good | bad), axis=1, dtype=np.int32)[:, peaks] + strays[:, peaks]
        precision = found / np.maximum(counted, 1)
        best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        points = flat.take(offset + found)
        gained = np.diff(points, axis=1, prepend=np.int16(0))
        averages[threshold] = np.einsum("sn,sn->s", best, gained) / len(RECALLS)
    return averages
