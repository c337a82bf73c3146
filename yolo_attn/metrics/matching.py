"""Which predictions find which objects, by COCO's rules: what an average precision is counted from.

faster-coco-eval keeps its matches in C++ and shows a part of them only, so the greedy assignment is written out here,
on the overlaps that its ``mask.iou`` computes. The rules are those of ``COCOeval.evaluateImg`` of pycocotools. A match
does not depend on the other images: it is found once and serves every resampled set of images.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import DataError
from .coco_metrics import COLUMNS, Columns, Rows, class_names, columns

if TYPE_CHECKING:
    from numpy.typing import NDArray

THRESHOLDS = np.linspace(0.5, 0.95, 10)  # of the overlap (IoU)
AREAS = {"all": (0.0, 1e10), "small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e10)}  # px^2
MAX_PREDICTIONS = 100  # of an image and class, the best
_REACHED = np.minimum(THRESHOLDS, 1 - 1e-10)  # as the evaluator lets 1 - 1e-10 pass for 1
_LOW, _HIGH = np.array(list(AREAS.values())).T[:, :, None]  # (2, areas, 1)


@dataclass(frozen=True)
class Truth:
    """The objects of a data set, sorted by class and image.

    Attributes:
        images: Image ids, ascending; an image is named by its place in here.
        classes: Class ids, ascending; a class is named by its place in here.
        names: A name for each class, no two the same.
        klass: Class of each object.
        image: Image of each object.
        box: ``(objects, 4)``, x, y, width, height in pixels.
        crowd: Whether it is a crowd region.
        ignored: ``(areas, objects)``, whether the object does not count: a crowd, or of another size.
    """

    images: NDArray[np.int64]
    classes: NDArray[np.int64]
    names: tuple[str, ...]
    klass: NDArray[np.int64]
    image: NDArray[np.int64]
    box: NDArray[np.float64]
    crowd: NDArray[np.bool_]
    ignored: NDArray[np.bool_]


@dataclass(frozen=True)
class Matches:
    """The predictions of one class, best score first; equal scores in the order of the images, as the evaluator sorts.

    Attributes:
        image: Image of each prediction.
        inside: ``(areas, predictions)``, whether its box has that size.
        near: Places of those predictions that overlap an object by 0.5 or more.
        right: ``(near, areas, thresholds)``, whether such a one finds an object that counts.
        wrong: The same, whether it finds none and counts as wrong. If neither, it is left out of the count.
    """

    image: NDArray[np.int64]
    inside: NDArray[np.bool_]
    near: NDArray[np.int64]
    right: NDArray[np.bool_]
    wrong: NDArray[np.bool_]


def read_truth(truth: Mapping[str, Any]) -> Truth:
    """Return the objects of a data set in COCO's format.

    Args:
        truth: ``images``, ``annotations`` and ``categories``, as ``yolo_attn.metrics.ground_truth`` returns them.

    Raises:
        DataError: If there is no image, or an object is of an image or class that is not listed.
    """
    images = np.unique(np.array([image["id"] for image in truth["images"]], dtype=np.int64))
    if not images.size:
        raise DataError("the ground truth has no images; resampling them needs at least one")
    categories = class_names(truth)
    classes, names = np.array(list(categories), dtype=np.int64), list(categories.values())

    objects = truth["annotations"]
    klass, strange_class = _places(classes, [item["category_id"] for item in objects])
    image, strange_image = _places(images, [item["image_id"] for item in objects])
    for what, strange in (("image", strange_image), ("category", strange_class)):
        if strange.any():
            item = objects[int(np.flatnonzero(strange)[0])]
            raise DataError(f"annotation {item.get('id')} is of {what} {item[f'{what}_id']}, which is not listed")
    order = np.lexsort((image, klass))
    box = np.array([item["bbox"] for item in objects], dtype=float).reshape(-1, 4)[order]
    area = np.array([item["area"] for item in objects], dtype=float)[order]
    crowd = np.array([bool(item.get("iscrowd", 0)) for item in objects], dtype=bool)[order]
    ignored = crowd | (area < _LOW) | (area > _HIGH)
    return Truth(images, classes, tuple(names), klass[order], image[order], box, crowd, ignored)


def match(truth: Truth, predictions: Columns | Rows) -> list[Matches]:
    """Assign predictions to objects, as the evaluator does.

    Args:
        truth: The objects.
        predictions: ``image_id``, ``category_id``, ``score`` and ``bbox`` (x, y, width, height in pixels), as columns
            or as one dict each. Those of a class that ``truth`` does not list are left out.

    Returns:
        The matches of each class of ``truth``.

    Raises:
        DataError: If the columns are not of one length, an image is unknown, or a score or box is no number.
    """
    klass, image, score, box = _read_predictions(truth, predictions)
    order = np.lexsort((-score, image, klass))  # stable: equal scores of one image stay as they were predicted
    group = klass[order] * len(truth.images) + image[order]
    starts = np.flatnonzero(np.diff(group, prepend=-1))
    rank = np.arange(len(order)) - np.repeat(starts, np.diff(starts, append=len(order)))
    order = order[rank < MAX_PREDICTIONS]
    klass, image, score, box = klass[order], image[order], score[order], box[order]
    inside = _inside(box)
    near, right, left_out = _near(truth, klass, image, box)
    wrong = ~right & ~left_out & inside.T[near][:, :, None]

    by_score = np.lexsort((-score, klass))
    place = np.empty(len(by_score), dtype=np.int64)
    place[by_score] = np.arange(len(by_score))
    sorted_near = np.argsort(place[near])
    near, right, wrong = place[near][sorted_near], right[sorted_near], wrong[sorted_near]
    image, inside = image[by_score], inside[:, by_score]
    bounds = np.searchsorted(klass[by_score], np.arange(len(truth.classes) + 1))
    cuts = np.searchsorted(near, bounds)
    return [
        Matches(image[a:b], inside[:, a:b], near[c:d] - a, right[c:d], wrong[c:d])
        for a, b, c, d in zip(bounds[:-1], bounds[1:], cuts[:-1], cuts[1:], strict=True)
    ]


def _places(known: NDArray[np.int64], wanted: Any) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return where each of ``wanted`` stands in ``known``, and which do not."""
    wanted = np.array(wanted, dtype=np.int64).reshape(-1)
    if not known.size:
        return np.zeros(len(wanted), dtype=np.int64), np.ones(len(wanted), dtype=bool)
    place = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
    return place, known[place] != wanted


def _inside(box: NDArray[np.float64]) -> NDArray[np.bool_]:
    area = box[:, 2] * box[:, 3]
    return (area >= _LOW) & (area <= _HIGH)


def _read_predictions(
    truth: Truth, predictions: Columns | Rows
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Return class, image, score and box of the predictions of known classes."""
    if not isinstance(predictions, Mapping) or len({len(predictions.get(name, ())) for name in COLUMNS}) > 1:
        predictions = columns(predictions)  # raises where the lengths differ
    image, strange = _places(truth.images, predictions["image_id"])
    if strange.any():
        example = np.array(predictions["image_id"])[strange][0]
        raise DataError(f"predictions of images without ground truth, as of image {example}")
    klass, unknown = _places(truth.classes, predictions["category_id"])
    score = np.array(predictions["score"], dtype=float).reshape(-1)
    box = np.array(predictions["bbox"], dtype=float).reshape(-1, 4)
    bad = ~(np.isfinite(score) & np.isfinite(box).all(axis=1))
    if bad.any():
        first = int(np.flatnonzero(bad)[0])
        raise DataError(f"prediction {first} has score {score[first]} and box {box[first].tolist()}: no numbers")
    known = ~unknown
    return klass[known], image[known], score[known], box[known]


def _near(
    truth: Truth, klass: NDArray[np.int64], image: NDArray[np.int64], box: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.bool_]]:
    """Return the predictions that overlap an object: where they stand, whether they find one, one that is ignored.

    The predictions are sorted by class, image and score.
    """
    from faster_coco_eval import mask  # type: ignore[import-untyped]

    theirs, ours = (k * len(truth.images) + i for k, i in ((truth.klass, truth.image), (klass, image)))
    both = np.intersect1d(theirs, ours)  # class and image
    begin, end = np.searchsorted(ours, both), np.searchsorted(ours, both, side="right")
    first, last = np.searchsorted(theirs, both), np.searchsorted(theirs, both, side="right")
    crowds = truth.crowd.astype(int).tolist()
    near, found = [], []
    for a, b, c, d in zip(begin.tolist(), end.tolist(), first.tolist(), last.tolist(), strict=True):
        overlap = np.asarray(mask.iou(box[a:b], truth.box[c:d], crowds[c:d]))
        rows = np.flatnonzero(overlap.max(axis=1) >= _REACHED[0])
        if rows.size:
            near.append(a + rows)
            found.append(_assign(overlap[rows], truth.crowd[c:d], truth.ignored[:, c:d]))
    shape = (0, len(AREAS), len(THRESHOLDS))
    results = np.concatenate([np.zeros((2, *shape), dtype=bool), *found], axis=1)
    return np.concatenate([np.zeros(0, dtype=np.int64), *near]), results[0], results[1]


def _assign(overlap: NDArray[np.float64], crowd: NDArray[np.bool_], ignored: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Give each prediction the object it overlaps most of those left, for every size and threshold at once.

    An object that counts goes before one that is ignored, whatever the overlap. A crowd region is never used up. Of
    equal overlaps the later object is taken.

    Args:
        overlap: ``(predictions, objects)``, best score first.
        crowd: ``(objects,)``.
        ignored: ``(areas, objects)``.

    Returns:
        ``(2, predictions, areas, thresholds)``: whether it has one that counts, one that is ignored.
    """
    areas, objects = ignored.shape
    free = np.ones((objects, areas, len(THRESHOLDS)), dtype=bool)
    result = np.zeros((2, len(overlap), areas, len(THRESHOLDS)), dtype=bool)
    counts = ~ignored
    for number, row in enumerate(overlap):
        candidates = np.flatnonzero(row >= _REACHED[0])
        if len(candidates) == 1:
            one = candidates[0]
            hit = free[one] & (row[one] >= _REACHED)
            if not crowd[one]:
                free[one] &= ~hit
            result[0, number] = hit & counts[:, one, None]
            result[1, number] = hit & ignored[:, one, None]
            continue
        rank = np.empty(len(candidates), dtype=np.int64)
        rank[np.argsort(row[candidates], kind="stable")] = np.arange(1, len(candidates) + 1)
        preference = rank[:, None] + len(candidates) * counts[:, candidates].T  # (candidates, areas)
        possible = free[candidates] & (row[candidates, None] >= _REACHED)[:, None, :]
        preference = np.where(possible, preference[:, :, None], 0)
        best, chosen = preference.max(axis=0), candidates[preference.argmax(axis=0)]
        hit = best > 0
        result[0, number] = hit & (best > len(candidates))
        result[1, number] = hit & (best <= len(candidates))
        area, threshold = np.nonzero(hit & ~crowd[chosen])
        free[chosen[area, threshold], area, threshold] = False
    return result
