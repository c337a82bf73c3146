"""Which predictions find which objects: the greedy assignment that every metric here rests on.

:func:`assign` is that rule. :func:`match` applies it as ``COCOeval.evaluateImg`` of pycocotools does; faster-coco-eval
keeps its matches in C++ and shows a part of them only. A match does not depend on the other images: it is computed once
and serves every resampled set of images.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from ..errors import DataError
from .coco_format import Dataset, RowsOrColumns, check_images, checked, class_names

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]
    Flags = NDArray[np.bool_]

THRESHOLDS = np.linspace(0.5, 0.95, 10)  # of the overlap (IoU)
AREAS = {"all": (0.0, 1e10), "small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e10)}  # px^2
RECALLS = np.linspace(0.0, 1.0, 101)  # as COCO's evaluator has them, to the last bit
MAX_PREDICTIONS = 100  # per image and class, those with the highest scores
_LOW, _HIGH = np.array(list(AREAS.values())).T[:, :, None]  # (2, areas, 1)


@dataclass(frozen=True)
class Objects:
    """The objects of a data set, sorted by class and image.

    Attributes:
        images: Image ids, ascending; ``image`` holds indices into it.
        categories: Class ids, ascending; ``category`` holds indices into it.
        names: A unique name for each class.
        category: Class of each object.
        image: Image of each object.
        box: ``(objects, 4)``, x, y, width, height in pixels.
        crowd: Whether it is a crowd region.
        ignored: ``(areas, objects)``, whether the object does not count: a crowd, or of another size.
        position: Index of each object in the data set's annotations.
    """

    images: Ints
    categories: Ints
    names: tuple[str, ...]
    category: Ints
    image: Ints
    box: Floats
    crowd: Flags
    ignored: Flags
    position: Ints


@dataclass(frozen=True)
class Detections:
    """Predictions, one entry each: class and image as indices into those of :class:`Objects`, score and box."""

    category: Ints
    image: Ints
    score: Floats
    box: Floats

    def best(self, group: Ints, most: int) -> Detections:
        """Return the ``most`` predictions with the highest scores of each group.

        They are sorted by group, then by falling score; equal scores keep their order.
        """
        order = np.lexsort((-self.score, group))
        starts = np.flatnonzero(np.diff(group[order], prepend=-1))
        rank = np.arange(len(order)) - np.repeat(starts, np.diff(starts, append=len(order)))
        kept = order[rank < most]
        return Detections(self.category[kept], self.image[kept], self.score[kept], self.box[kept])


@dataclass(frozen=True)
class Matches:
    """The predictions of one class, best score first; equal scores in the order of the images, as the evaluator sorts.

    Attributes:
        image: Image of each prediction.
        inside: ``(areas, predictions)``, whether its box has that size.
        near: Indices of the predictions that overlap an object by 0.5 or more.
        right: ``(near, areas, thresholds)``, whether such a prediction finds an object that counts.
        wrong: The same, whether it finds none and counts as wrong. If neither, it does not count.
    """

    image: Ints
    inside: Flags
    near: Ints
    right: Flags
    wrong: Flags


def read_objects(truth: Dataset) -> Objects:
    """Read the objects of a data set.

    Raises:
        DataError: If there is no image, or an object's image or class is not listed.
    """
    images = np.unique(np.array([image["id"] for image in truth["images"]], dtype=np.int64))
    if not images.size:
        raise DataError("the ground truth has no images; list at least one under 'images'")
    names = class_names(truth)
    categories, entries = np.array(list(names), dtype=np.int64), truth["annotations"]
    category, unknown_category = _index(categories, [entry["category_id"] for entry in entries])
    image, unknown_image = _index(images, [entry["image_id"] for entry in entries])
    if (unknown := unknown_image | unknown_category).any():
        first = int(unknown.argmax())
        entry = entries[first]
        what = f"image {entry['image_id']}" if unknown_image[first] else f"category {entry['category_id']}"
        raise DataError(f"annotation {entry.get('id')} belongs to {what}, which the ground truth does not list")
    order = np.lexsort((image, category))
    box = np.array([entry["bbox"] for entry in entries], dtype=float).reshape(-1, 4)[order]
    area = np.array([entry["area"] for entry in entries], dtype=float)[order]
    crowd = np.array([bool(entry.get("iscrowd", 0)) for entry in entries], dtype=bool)[order]
    ignored = crowd | (area < _LOW) | (area > _HIGH)
    return Objects(images, categories, tuple(names.values()), category[order], image[order], box, crowd, ignored, order)


def read_predictions(objects: Objects, predictions: RowsOrColumns) -> Detections:
    """Read predictions, without those of a class that the ground truth does not list: the evaluator skips them too.

    Raises:
        DataError: If an image is unknown, and as :func:`yolo_attn.metrics.coco_format.checked` does.
    """
    found = checked(predictions)
    image, unknown_image = _index(objects.images, found["image_id"])
    if unknown_image.any():
        check_images(objects.images.tolist(), found["image_id"])
    category, unknown = _index(objects.categories, found["category_id"])
    score = np.array(found["score"], dtype=float).reshape(-1)
    box = np.array(found["bbox"], dtype=float).reshape(-1, 4)
    return Detections(category[~unknown], image[~unknown], score[~unknown], box[~unknown])


def match(objects: Objects, predictions: RowsOrColumns) -> list[Matches]:
    """Match predictions with objects as COCO's evaluator does; return the matches of each class.

    Raises:
        DataError: As :func:`read_predictions` does.
    """
    found = read_predictions(objects, predictions)
    found = found.best(found.category * len(objects.images) + found.image, MAX_PREDICTIONS)
    area = found.box[:, 2] * found.box[:, 3]
    inside = (area >= _LOW) & (area <= _HIGH)
    near, chosen = _match_near(objects, found)
    taken = chosen >= 0
    right = taken & ~objects.ignored[np.arange(len(AREAS))[:, None], chosen]
    wrong = ~taken & inside.T[near][:, :, None]

    by_score = np.lexsort((-found.score, found.category))
    place = np.empty(len(by_score), dtype=np.int64)
    place[by_score] = np.arange(len(by_score))
    sorted_near = np.argsort(place[near])
    near, right, wrong = place[near][sorted_near], right[sorted_near], wrong[sorted_near]
    image, inside = found.image[by_score], inside[:, by_score]
    bounds = np.searchsorted(found.category[by_score], np.arange(len(objects.categories) + 1))
    cuts = np.searchsorted(near, bounds)
    return [
        Matches(image[a:b], inside[:, a:b], near[c:d] - a, right[c:d], wrong[c:d])
        for a, b, c, d in zip(bounds[:-1], bounds[1:], cuts[:-1], cuts[1:], strict=True)
    ]


def assign(
    overlap: Floats,
    thresholds: Floats,
    *,
    crowd: Flags | None = None,
    ignored: Flags | None = None,
    ties: Literal["first", "last"],
) -> Ints:
    """Assign to each prediction the free object that it overlaps most, for every size and threshold at once.

    An object that counts is preferred to one that is ignored, whatever the overlap.

    Args:
        overlap: ``(predictions, objects)``, best score first; 0 where an object must not be assigned.
        thresholds: ``(thresholds,)``, ascending: the overlap that an assignment needs.
        crowd: ``(objects,)``, whether the object stays free after an assignment; by default none does.
        ignored: ``(areas, objects)``; by default one size, in which every object counts.
        ties: Which of several objects with the same overlap is assigned.

    Returns:
        ``(predictions, areas, thresholds)``: index of the object, -1 where there is none.
    """
    objects = overlap.shape[1]
    crowd = np.zeros(objects, dtype=bool) if crowd is None else crowd
    ignored = np.zeros((1, objects), dtype=bool) if ignored is None else ignored
    if ties == "first":
        last = assign(overlap[:, ::-1], thresholds, crowd=crowd[::-1], ignored=ignored[:, ::-1], ties="last")
        return np.where(last < 0, -1, objects - 1 - last)
    shape = (len(ignored), len(thresholds))
    free = np.ones((objects, *shape), dtype=bool)
    assigned = np.full((len(overlap), *shape), -1, dtype=np.int64)
    for number, row in enumerate(overlap):
        candidates = np.flatnonzero(row >= thresholds[0])
        if len(candidates) == 1:  # the usual case, made fast
            one = candidates[0]
            hit = free[one] & (row[one] >= thresholds)
            assigned[number][hit] = one
            if not crowd[one]:
                free[one] &= ~hit
        elif len(candidates):
            rank = np.empty(len(candidates), dtype=np.int64)
            rank[np.argsort(row[candidates], kind="stable")] = np.arange(1, len(candidates) + 1)
            preference = rank[:, None] + len(candidates) * ~ignored[:, candidates].T  # (candidates, areas)
            possible = free[candidates] & (row[candidates, None] >= thresholds)[:, None, :]
            preference = np.where(possible, preference[:, :, None], 0)
            hit, chosen = preference.any(axis=0), candidates[preference.argmax(axis=0)]
            assigned[number][hit] = chosen[hit]
            area, threshold = np.nonzero(hit & ~crowd[chosen])
            free[chosen[area, threshold], area, threshold] = False
    return assigned


def overlaps(boxes: Floats, objects: Floats, crowd: Flags) -> Floats:
    """Return ``(boxes, objects)``: IoU; with a crowd region, the share of the box that lies inside it."""
    from faster_coco_eval import mask  # type: ignore[import-untyped]

    if not len(boxes) or not len(objects):
        return np.zeros((len(boxes), len(objects)))
    return np.asarray(mask.iou(boxes, objects, crowd.astype(int).tolist()), dtype=np.float64)


def _index(known: Ints, wanted: ArrayLike) -> tuple[Ints, Flags]:
    """Return the index of each of ``wanted`` in ``known``, which is sorted, and which are not there."""
    wanted = np.array(wanted, dtype=np.int64).reshape(-1)
    return np.searchsorted(known, wanted), ~np.isin(wanted, known)


def _match_near(objects: Objects, found: Detections) -> tuple[Ints, Ints]:
    """Return which predictions, sorted by class, image and score, overlap an object; and what `assign` gives each."""
    theirs, ours = (k.category * len(objects.images) + k.image for k in (objects, found))
    both = np.intersect1d(theirs, ours)  # class and image
    bounds = [np.searchsorted(keys, both, side) for keys in (ours, theirs) for side in ("left", "right")]
    reached = np.minimum(THRESHOLDS, 1 - 1e-10)  # the evaluator accepts 1 - 1e-10 as 1
    near, assigned = [np.zeros(0, dtype=np.int64)], [np.zeros((0, len(AREAS), len(THRESHOLDS)), dtype=np.int64)]
    for a, b, c, d in zip(*(bound.tolist() for bound in bounds), strict=True):
        crowd = objects.crowd[c:d]
        overlap = overlaps(found.box[a:b], objects.box[c:d], crowd)
        rows = np.flatnonzero(overlap.max(axis=1) >= reached[0])
        if rows.size:
            chosen = assign(overlap[rows], reached, crowd=crowd, ignored=objects.ignored[:, c:d], ties="last")
            near.append(a + rows)
            assigned.append(np.where(chosen < 0, -1, c + chosen))
    return np.concatenate(near), np.concatenate(assigned)
