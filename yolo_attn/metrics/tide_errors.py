"""The kinds of errors a detector makes, and what each costs, by the definitions of TIDE.

Bolya, Foley, Hays, Hoffman, "TIDE: A General Toolbox for Identifying Object Detection Errors", ECCV 2020,
https://arxiv.org/abs/2008.08050, Sec. 2.2, with t_f = 0.5 and t_b = 0.1. Of one image the 100 best predictions count,
over all classes; going down by score, each takes the free object of its class with the highest IoU, if that is t_f at
least. Each prediction that got none is the first of these that fits, where IoU is the highest with such an object:

- localisation: IoU with an object of its class from t_b to t_f;
- classification: IoU with an object of another class t_f at least;
- duplicate: IoU with an object of its class that another prediction took t_f at least;
- background: IoU with every object t_b at most;
- both: anything else, as the wrong class in the wrong place.

An object is missed if no prediction took it and neither a localisation nor a classification error is about it.

The cost of a kind, ``dAP``, is how much AP at IoU 0.5 would rise if those errors alone were mended. A localisation or
classification error becomes right if it is the best-scoring one about a free object, and vanishes otherwise;
duplicates, background and both vanish; missed objects need not be found. The costs of the kinds do not add up.

As in the authors' code, a prediction inside a crowd region is left out of the AP, but counted with the kind of error it
is. Unlike there, a class without objects has no part in the AP, as COCO has it; theirs counts it as 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .coco_metrics import Columns, Rows, check_images, columns

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]
    Flags = NDArray[np.bool_]

KINDS = ("classification", "localisation", "both", "duplicate", "background", "missed")
SPECIAL = ("false_positive", "false_negative")
FOREGROUND = 0.5  # t_f
BACKGROUND = 0.1  # t_b
MOST = 100  # predictions of an image

_RIGHT = -1  # stands for "no error" where a kind is an index into KINDS
_CLASSIFICATION, _LOCALISATION, _BOTH, _DUPLICATE, _BACKGROUND, _MISSED = range(len(KINDS))
_RECALLS = np.linspace(0.0, 1.0, 101)  # as COCO's evaluator has them, to the last bit


@dataclass(frozen=True, slots=True)
class ErrorKinds:
    """The errors of one model on one data set.

    Attributes:
        ap50: AP at IoU 0.5 from 0 to 1, with 100 predictions an image; None if there is no object.
        counts: Number of errors by kind, in the order of ``KINDS``.
        dap: Rise of ``ap50``, from 0 to 1, if the errors of one kind were mended; also ``false_positive`` (every wrong
            prediction scored below every right one) and ``false_negative`` (objects that were not found need not be).
            0 where there is no object.
    """

    ap50: float | None
    counts: dict[str, int]
    dap: dict[str, float]


def error_kinds(truth: dict[str, Any], predictions: Rows | Columns) -> ErrorKinds:
    """Return the number and the cost of each kind of error.

    Args:
        truth: A data set in COCO's format.
        predictions: As for :func:`yolo_attn.metrics.figures`: rows or columns; may be empty.

    Raises:
        DataError: If a prediction is of an image that the ground truth does not have.
    """
    found = _judged(truth, predictions)
    counts = {kind: int(np.sum(found.kind == index)) for index, kind in enumerate(KINDS)}
    counts["missed"] = int(found.missed.sum())
    if not found.objects.any():
        return ErrorKinds(None, counts, dict.fromkeys((*KINDS, *SPECIAL), 0.0))
    right, valid = found.kind == _RIGHT, ~found.ignored
    before = _mean_ap(found.category, found.score, right, valid, found.objects, found.objects)
    after: dict[str, float] = {}
    for index, kind in enumerate(KINDS):
        if index == _MISSED:
            wanted = found.objects - found.missed
            after[kind] = _mean_ap(found.category, found.score, right, valid, wanted, found.objects)
            continue
        of_kind = found.kind == index
        mended = of_kind & found.mends
        category = np.where(mended, found.meant, found.category)
        keep = (valid & ~of_kind) | mended
        after[kind] = _mean_ap(category, found.score, right | mended, keep, found.objects, found.objects)
    score = right.astype(float)
    after["false_positive"] = _mean_ap(found.category, score, right, valid, found.objects, found.objects)
    hits = np.bincount(found.category[right], minlength=len(found.objects))
    after["false_negative"] = _mean_ap(found.category, found.score, right, valid, hits, found.objects)
    return ErrorKinds(before, counts, {kind: max(ap - before, 0.0) for kind, ap in after.items()})


@dataclass(frozen=True, slots=True)
class _Judged:
    """Every prediction, image by image and by falling score: ``(P,)`` each; and the classes, ``(K,)`` each.

    Attributes:
        category: Class, as an index into the data set's classes.
        score: Score.
        kind: Index into ``KINDS``, or ``_RIGHT``.
        ignored: Inside a crowd region, and not right.
        mends: The error to mend of those about the same free object.
        meant: The class of the object that the error is about; ``category`` where it is about none.
        objects: Objects of the class, crowd regions apart.
        missed: Objects of the class that are missed.
    """

    category: Ints
    score: Floats
    kind: Ints
    ignored: Flags
    mends: Flags
    meant: Ints
    objects: Ints
    missed: Ints


def _judged(truth: dict[str, Any], predictions: Rows | Columns) -> _Judged:
    given = predictions if isinstance(predictions, Mapping) else columns(predictions)
    check_images(truth, given["image_id"])
    classes = {number: index for index, number in enumerate(sorted(c["id"] for c in truth["categories"]))}
    images = {number: index for index, number in enumerate(sorted(i["id"] for i in truth["images"]))}

    # Predictions by image, then by falling score; those of one score stay in their order.
    category = np.array([classes.get(number, -1) for number in given["category_id"]], np.int64)
    image = np.array([images[number] for number in given["image_id"]], np.int64)
    score = np.asarray(given["score"], np.float64)
    bbox = np.asarray(given["bbox"], np.float64).reshape(-1, 4)
    order = np.lexsort((-score, image))
    order = order[category[order] >= 0]  # the evaluator leaves out a class that the data set does not have, too
    category, image, score, bbox = category[order], image[order], score[order], bbox[order]
    starts = np.searchsorted(image, np.arange(len(images) + 1))
    rank = np.arange(len(image)) - starts[image]
    best = rank < MOST
    category, image, score, bbox = category[best], image[best], score[best], bbox[best]
    starts = np.searchsorted(image, np.arange(len(images) + 1))

    there: list[list[dict[str, Any]]] = [[] for _ in images]
    for annotation in truth["annotations"]:
        there[images[annotation["image_id"]]].append(annotation)
    objects, missed = np.zeros(len(classes), np.int64), np.zeros(len(classes), np.int64)
    kind = np.full(len(image), _BACKGROUND, np.int64)
    ignored, mends, meant = np.zeros(len(image), bool), np.zeros(len(image), bool), category.copy()
    for index, entries in enumerate(there):
        here = slice(starts[index], starts[index + 1])
        boxes, labels = _boxes([entry for entry in entries if not entry.get("iscrowd")], classes)
        regions, of = _boxes([entry for entry in entries if entry.get("iscrowd")], classes)
        np.add.at(objects, labels, 1)
        if here.start == here.stop or not len(labels):
            np.add.at(missed, labels, 1)
        else:
            iou = _iou(bbox[here], boxes, crowd=False)
            kind[here], mends[here], meant[here], left = _judge(iou, category[here], labels)
            np.add.at(missed, labels[left], 1)
        if len(of) and here.start < here.stop:
            inside = _iou(bbox[here], regions, crowd=True) > FOREGROUND
            ignored[here] = (inside & (category[here, None] == of)).any(1) & (kind[here] != _RIGHT)
    return _Judged(category, score, kind, ignored, mends, meant, objects, missed)


def _judge(iou: Floats, category: Ints, labels: Ints) -> tuple[Ints, Flags, Ints, Flags]:
    """Judge the predictions of one image that has objects.

    Args:
        iou: ``(P, N)``, of the predictions by falling score with the objects.
        category: ``(P,)``, the classes of the predictions.
        labels: ``(N,)``, the classes of the objects.

    Returns:
        As in :class:`_Judged`: kind, mends, meant, ``(P,)`` each; and which objects are missed, ``(N,)``.
    """
    same = category[:, None] == labels
    own, other = iou * same, iou * ~same
    taken = np.zeros(len(labels), bool)
    right = np.zeros(len(category), bool)
    free = own.copy()
    for index in np.flatnonzero(own.max(1) >= FOREGROUND):
        nearest = free[index].argmax()
        if free[index, nearest] >= FOREGROUND:
            right[index] = taken[nearest] = True
            free[:, nearest] = 0

    at, top = own.argmax(1), own.max(1)
    tests = [  # the first that holds, as the authors' code asks them
        (_RIGHT, right),
        (_LOCALISATION, (top >= BACKGROUND) & (top <= FOREGROUND)),
        (_CLASSIFICATION, other.max(1) >= FOREGROUND),
        (_DUPLICATE, (own * taken).max(1) >= FOREGROUND),
        (_BACKGROUND, iou.max(1) <= BACKGROUND),
    ]
    kind = np.select([test for _, test in tests], [np.int64(index) for index, _ in tests], np.int64(_BOTH))
    about = np.where(kind == _CLASSIFICATION, other.argmax(1), at)
    candidates = np.flatnonzero(((kind == _LOCALISATION) | (kind == _CLASSIFICATION)) & ~taken[about])
    spoken_for, first = np.unique(about[candidates], return_index=True)
    mends = np.zeros(len(category), bool)
    mends[candidates[first]] = True
    missed = ~taken
    missed[spoken_for] = False
    return kind, mends, np.where(mends, labels[about], category), missed


def _boxes(entries: list[dict[str, Any]], classes: dict[int, int]) -> tuple[Floats, Ints]:
    boxes = np.array([entry["bbox"] for entry in entries], np.float64).reshape(-1, 4)
    return boxes, np.array([classes[entry["category_id"]] for entry in entries], np.int64)


def _iou(found: Floats, boxes: Floats, *, crowd: bool) -> Floats:
    """Return ``(P, N)``; with a crowd region it is the part of the prediction that lies inside."""
    from faster_coco_eval.core import mask  # type: ignore[import-untyped]

    return np.asarray(mask.iou(found, boxes, [int(crowd)] * len(boxes)), np.float64).reshape(len(found), len(boxes))


def _mean_ap(category: Ints, score: Floats, right: Flags, keep: Flags, wanted: Ints, objects: Ints) -> float:
    """Return the mean AP over the classes, as the authors take it after an error is mended.

    Args:
        category: ``(P,)``, the class of each prediction.
        score: ``(P,)``.
        right: ``(P,)``, whether it is right.
        keep: ``(P,)``, whether it counts.
        wanted: ``(K,)``, objects to find of each class.
        objects: ``(K,)``, objects that there are: a class without has no part in the mean.
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
    places = np.searchsorted(hits / wanted, _RECALLS, side="left")
    return float(np.append(precision, 0.0)[places].mean())
