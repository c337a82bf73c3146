"""COCO's average precision of resampled sets of images, without evaluating each set again.

A set of images drawn with replacement is the same set with whole-number weights, and the matches between predictions
and objects do not change. Precision peaks only where an object is found, so counts are needed only there. With all
weights 1 the metrics equal the evaluator's, to rounding; with other weights they equal the evaluator's on the set in
which an image of weight w appears w times. Predictions with equal scores are ordered by image, copies side by side.

The interval shows how the metrics of these trained models would differ on other images of the same kind. It does not
cover other seeds.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from ..metrics.matching import AREAS, RECALLS, THRESHOLDS, Matches, Objects

if TYPE_CHECKING:
    from numpy.typing import NDArray

BLOCK = 1 << 18  # numbers processed at a time, to stay in the processor's cache
MAX_THREADS = 8

# metric -> index of the area, and the thresholds that it averages
METRICS = {
    "AP": (0, slice(None)),
    "AP50": (0, slice(0, 1)),
    "AP75": (0, slice(5, 6)),
    **{f"AP_{area}": (index, slice(None)) for index, area in enumerate(AREAS) if index},
}
CLASS_METRICS = ("AP", "AP50", "AP75")


def draw_images(images: int, resamples: int, seed: int) -> NDArray[np.int32]:
    """Draw sets of as many images with replacement; return how often each is in each set, ``(resamples, images)``."""
    chances = np.full(images, 1 / images)
    return np.random.default_rng(seed).multinomial(images, chances, size=resamples).astype(np.int32)


def metric_names(objects: Objects) -> list[str]:
    """Return the names of what :func:`resample_metrics` computes, such as ``AP``, ``AP_small`` and ``AP[person]``."""
    return [*METRICS, *(f"{metric}[{name}]" for name in objects.names for metric in CLASS_METRICS)]


def resample_metrics(
    objects: Objects, matches: Sequence[Matches], weights: NDArray[np.int32], wanted: Sequence[str] | None = None
) -> dict[str, NDArray[np.float64]]:
    """Compute metrics of every weighted set of images.

    Args:
        objects: The objects.
        matches: The matches of each class, by :func:`yolo_attn.metrics.matching.match`.
        weights: ``(sets, images)``, how often each image counts.
        wanted: Some of :func:`metric_names`; all if None. Without AP by size it takes half the time.

    Returns:
        By name ``(sets,)``, from 0 to 1; NaN where a set has no such object.
    """
    chosen = metric_names(objects) if wanted is None else list(wanted)
    whole = [metric for metric in METRICS if metric in chosen or any(name.startswith(f"{metric}[") for name in chosen)]
    columns = np.ascontiguousarray(weights.T)

    def of_class(number: int) -> NDArray[np.float64]:
        areas = {METRICS[metric][0] for metric in whole}
        curves = {area: _class_precision(objects, matches[number], number, area, columns) for area in areas}
        return np.array([curves[area][thresholds].mean(axis=0) for area, thresholds in (METRICS[m] for m in whole)])

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    order = sorted(range(len(objects.categories)), key=lambda number: -len(matches[number].near))  # the longest first
    with ThreadPoolExecutor(min(cores, MAX_THREADS)) as pool:
        by_class = dict(zip(order, pool.map(of_class, order), strict=True))

    found: dict[str, NDArray[np.float64]] = {}
    for row, metric in enumerate(whole):
        values = np.array([by_class[number][row] for number in range(len(order))])  # (classes, sets)
        present = ~np.isnan(values)
        with np.errstate(invalid="ignore"):
            found[metric] = np.where(present, values, 0.0).sum(axis=0) / present.sum(axis=0)
        if metric in CLASS_METRICS:
            found |= {f"{metric}[{name}]": value for name, value in zip(objects.names, values, strict=True)}
    return {name: found[name] for name in chosen}


def _class_precision(
    objects: Objects, matches: Matches, number: int, area: int, weights: NDArray[np.int32]
) -> NDArray[np.float64]:
    """Return the average precision of one class and size, ``(thresholds, sets)``; ``weights`` is transposed."""
    from scipy import sparse  # type: ignore[import-untyped]

    sets = weights.shape[1]
    counting = np.flatnonzero((objects.category == number) & ~objects.ignored[area])
    holding, per_image = np.unique(objects.image[counting], return_counts=True)
    counts = per_image @ weights[holding]  # (sets,)
    result = np.zeros((len(THRESHOLDS), sets))
    result[:, counts == 0] = np.nan
    kept = (matches.right | matches.wrong)[:, area].any(axis=1)
    right, wrong = matches.right[kept, area].T, matches.wrong[kept, area].T  # (thresholds, near)
    if not right.any():
        return result

    # Predictions that overlap no object are wrong at every threshold: only their number between two others matters.
    near = matches.near[kept]
    other = matches.inside[area].copy()
    other[matches.near] = False
    places = np.flatnonzero(other[: near[-1]])
    rows = np.searchsorted(near, places)
    ones = np.ones(len(places), dtype=np.int32)
    between = sparse.csr_matrix((ones, (rows, matches.image[places])), shape=(len(near), len(weights)))
    image = matches.image[near]
    step = max(1, BLOCK // max(len(near), int(counts.max())))
    for start in range(0, sets, step):
        block = slice(start, start + step)
        here = np.ascontiguousarray(weights[:, block])
        strays = np.cumsum((between @ here).T, axis=1, dtype=np.int32)  # (block, near)
        mine = np.ascontiguousarray(here[image].T)
        total = counts[block]
        recall = np.arange(int(total.max()) + 1) / np.maximum(total, 1)[:, None]
        reached = np.searchsorted(RECALLS, recall, side="right").astype(np.int16)
        result[:, block] += _average(mine, strays, right, wrong, reached)
    return result


def _average(
    weights: NDArray[np.int32],
    strays: NDArray[np.int32],
    right: NDArray[np.bool_],
    wrong: NDArray[np.bool_],
    reached: NDArray[np.int16],
) -> NDArray[np.float64]:
    """Return the 101-point average precision, ``(thresholds, sets)``.

    Args:
        weights: ``(sets, near)``, the weight of the image of each prediction.
        strays: ``(sets, near)``, how many predictions that overlap no object come before each.
        right: ``(thresholds, near)``.
        wrong: ``(thresholds, near)``.
        reached: ``(sets, found)``, how many of the 101 recalls finding 0, 1, 2, ... of the objects reaches.
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
