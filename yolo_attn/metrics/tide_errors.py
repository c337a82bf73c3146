"""The kinds of errors a detector makes, and what each costs, by the definitions of TIDE.

Bolya, Foley, Hays, Hoffman, "TIDE: A General Toolbox for Identifying Object Detection Errors", ECCV 2020,
https://arxiv.org/abs/2008.08050, Sec. 2.2, with t_f = 0.5 and t_b = 0.1. The 100 predictions of an image with the
highest scores count, over all classes. By falling score, each is assigned the free object of its class with the highest
IoU, if that is at least t_f. A prediction without an object is an error of the first kind that applies:

- localisation: its highest IoU with an object of its class is from t_b to t_f;
- classification: its IoU with an object of another class is at least t_f;
- duplicate: its IoU with an object of its class that is already assigned is at least t_f;
- background: its IoU with every object is at most t_b;
- both: anything else, for example the wrong class in the wrong place.

An object is missed if it is not assigned and no localisation or classification error is about it.

The cost of a kind, ``dAP``, is how much AP at IoU 0.5 would rise if only these errors were fixed. A localisation or
classification error becomes right if it has the highest score of those about a free object; otherwise it is removed.
Duplicate, background and both errors are removed. Missed objects no longer count. The costs do not add up to a total.

As in the authors' code, a prediction inside a crowd region does not enter the AP, but counts as an error of its kind.
Unlike there, a class without objects does not enter the AP, as in COCO; their code counts it as 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .coco_format import Dataset, RowsOrColumns
from .matching import MAX_PREDICTIONS, RECALLS, assign, overlaps, read_objects, read_predictions

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]
    Flags = NDArray[np.bool_]

KINDS = ("classification", "localisation", "both", "duplicate", "background", "missed")
SPECIAL = ("false_positive", "false_negative")
FOREGROUND = 0.5  # t_f
BACKGROUND = 0.1  # t_b

_RIGHT = -1  # stands for "no error" where a kind is an index into KINDS
_CLASSIFICATION, _LOCALISATION, _BOTH, _DUPLICATE, _BACKGROUND = range(5)  # the first of KINDS


@dataclass(frozen=True, slots=True)
class ErrorKinds:
    """The errors of one model on one data set.

    Attributes:
        ap50: AP at IoU 0.5 from 0 to 1, with 100 predictions an image; None if there is no object.
        counts: Number of errors by kind, in the order of ``KINDS``.
        dap: Rise of ``ap50``, from 0 to 1, if the errors of one kind were fixed; also ``false_positive`` (if every
            wrong prediction scored below every right one) and ``false_negative`` (if only the objects that were found
            existed). 0 where there is no object.
    """

    ap50: float | None
    counts: dict[str, int]
    dap: dict[str, float]


def error_kinds(truth: Dataset, predictions: RowsOrColumns) -> ErrorKinds:
    """Compute the number and the cost of each kind of error.

    Raises:
        DataError: If a prediction is for an image that the ground truth does not have.
    """
    found = _judge(truth, predictions)
    counts = {kind: int(np.sum(found.kind == index)) for index, kind in enumerate(KINDS[:-1])}
    counts["missed"] = int(found.missed.sum())
    if not found.objects.any():
        return ErrorKinds(None, counts, dict.fromkeys((*KINDS, *SPECIAL), 0.0))
    right, valid = found.kind == _RIGHT, ~found.ignored
    plain = {"category": found.category, "score": found.score, "right": right, "keep": valid, "wanted": found.objects}

    def mean_ap(**changed: Ints | Floats | Flags) -> float:
        return _mean_ap(objects=found.objects, **{**plain, **changed})

    before = mean_ap()
    after: dict[str, float] = {}
    for index, kind in enumerate(KINDS[:-1]):
        of_kind = found.kind == index
        fixed = of_kind & found.fixes
        category = np.where(fixed, found.target, found.category)
        after[kind] = mean_ap(category=category, right=right | fixed, keep=(valid & ~of_kind) | fixed)
    after["missed"] = mean_ap(wanted=found.objects - found.missed)
    after["false_positive"] = mean_ap(score=right.astype(float))
    after["false_negative"] = mean_ap(wanted=np.bincount(found.category[right], minlength=len(found.objects)))
    return ErrorKinds(before, counts, {kind: max(ap - before, 0.0) for kind, ap in after.items()})


@dataclass(frozen=True, slots=True)
class _Judged:
    """Every prediction, image by image and by falling score: ``(P,)`` each; and the classes, ``(K,)`` each.

    Attributes:
        category: Class, as an index into the data set's classes.
        score: Score.
        kind: Index into ``KINDS``, or ``_RIGHT``.
        ignored: Inside a crowd region, and not right.
        fixes: Of the errors about the same free object, the one that becomes right.
        target: The class of the object that the error is about; ``category`` where it is about none.
        objects: Objects of the class, without crowd regions.
        missed: Objects of the class that are missed.
    """

    category: Ints
    score: Floats
    kind: Ints
    ignored: Flags
    fixes: Flags
    target: Ints
    objects: Ints
    missed: Ints


def _judge(truth: Dataset, predictions: RowsOrColumns) -> _Judged:
    objects = read_objects(truth)
    found = read_predictions(objects, predictions)
    found = found.best(found.image, MAX_PREDICTIONS)
    classes, size = len(objects.categories), len(found.image)
    kind = np.full(size, _BACKGROUND, np.int64)
    ignored, fixes, target = np.zeros(size, bool), np.zeros(size, bool), found.category.copy()
    missed = np.zeros(classes, np.int64)
    by_image = np.lexsort((objects.position, objects.image))
    images = np.arange(len(objects.images) + 1)
    ends = np.searchsorted(found.image, images), np.searchsorted(objects.image[by_image], images)
    for a, b, c, d in zip(ends[0][:-1], ends[0][1:], ends[1][:-1], ends[1][1:], strict=True):
        here, there = slice(a, b), by_image[c:d]
        crowds = there[objects.crowd[there]]
        there = there[~objects.crowd[there]]
        labels = objects.category[there]
        if a == b or not len(there):
            np.add.at(missed, labels, 1)
        else:
            overlap = overlaps(found.box[here], objects.box[there], objects.crowd[there])
            kind[here], fixes[here], target[here], left = _judge_image(overlap, found.category[here], labels)
            np.add.at(missed, labels[left], 1)
        inside = overlaps(found.box[here], objects.box[crowds], objects.crowd[crowds]) > FOREGROUND
        of_class = found.category[here, None] == objects.category[crowds]
        ignored[here] = (inside & of_class).any(1) & (kind[here] != _RIGHT)
    count = np.bincount(objects.category[~objects.crowd], minlength=classes)
    return _Judged(found.category, found.score, kind, ignored, fixes, target, count, missed)


def _judge_image(overlap: Floats, category: Ints, labels: Ints) -> tuple[Ints, Flags, Ints, Flags]:
    """Judge the predictions for one image that has objects.

    Args:
        overlap: ``(P, N)``, IoU of the predictions by falling score with the objects.
        category: ``(P,)``, the classes of the predictions.
        labels: ``(N,)``, the classes of the objects.

    Returns:
        As in :class:`_Judged`: kind, fixes, target, ``(P,)`` each; and which objects are missed, ``(N,)``.
    """
    same = category[:, None] == labels
    own, other = overlap * same, overlap * ~same
    assigned = assign(own, np.array([FOREGROUND]), ties="first")[:, 0, 0]
    right = assigned >= 0
    taken = np.zeros(len(labels), bool)
    taken[assigned[right]] = True

    nearest, highest = own.argmax(1), own.max(1)
    tests = [  # the first that holds, in the order of the authors' code
        (_RIGHT, right),
        (_LOCALISATION, (highest >= BACKGROUND) & (highest <= FOREGROUND)),
        (_CLASSIFICATION, other.max(1) >= FOREGROUND),
        (_DUPLICATE, (own * taken).max(1) >= FOREGROUND),
        (_BACKGROUND, overlap.max(1) <= BACKGROUND),
    ]
    kind = np.select([test for _, test in tests], [np.int64(index) for index, _ in tests], np.int64(_BOTH))
    about = np.where(kind == _CLASSIFICATION, other.argmax(1), nearest)
    candidates = np.flatnonzero(((kind == _LOCALISATION) | (kind == _CLASSIFICATION)) & ~taken[about])
    explained, first = np.unique(about[candidates], return_index=True)
    fixes = np.zeros(len(category), bool)
    fixes[candidates[first]] = True
    missed = ~taken
    missed[explained] = False
    return kind, fixes, np.where(fixes, labels[about], category), missed


def _mean_ap(category: Ints, score: Floats, right: Flags, keep: Flags, wanted: Ints, objects: Ints) -> float:
    """Return the mean AP over the classes, as the authors compute it after a fix.

    Args:
        category: ``(P,)``, the class of each prediction.
        score: ``(P,)``.
        right: ``(P,)``, whether it is right.
        keep: ``(P,)``, whether it counts.
        wanted: ``(K,)``, objects to find of each class.
        objects: ``(K,)``, objects of each class: a class without objects does not enter the mean.
    """
    category, score, right = category[keep], score[keep], right[keep]
    order = np.lexsort((-score, category))
    right, starts = right[order], np.searchsorted(category[order], np.arange(len(objects) + 1))
    values = []
    for index in np.flatnonzero(objects):
        hits = right[starts[index] : starts[index + 1]]
        if wanted[index]:
            values.append(_ap(hits, int(wanted[index])))
        elif len(hits):
            values.append(0.0)  # nothing to find, and something was found
    return float(np.mean(values)) if values else 1.0  # nothing left to find in any class


def _ap(right: Flags, wanted: int) -> float:
    """Return COCO's AP at 101 recalls of predictions by falling score."""
    if not len(right):
        return 0.0
    hits = np.cumsum(right)
    precision = np.maximum.accumulate((hits / np.arange(1, len(right) + 1))[::-1])[::-1]
    places = np.searchsorted(hits / wanted, RECALLS, side="left")
    return float(np.append(precision, 0.0)[places].mean())
