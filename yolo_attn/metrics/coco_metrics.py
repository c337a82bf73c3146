"""COCO's metrics from ground truth and predictions, by faster-coco-eval; nothing here computes an average precision.

The sizes are COCO's: small below 32 x 32 pixels, large above 96 x 96, by the ``area`` of the annotation. In COCO's own
ground truth that is the area of the segment; where labels are YOLO's, it is the area of the box. A crowd region
(``iscrowd``) is never missed, and a prediction inside one is neither right nor wrong. The 100 predictions with the
highest scores count, per image and class.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from .coco_format import Dataset, RowsOrColumns, check_images, class_names, rows

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# our name -> faster-coco-eval's
METRICS = {
    "AP": "AP_all",
    "AP50": "AP_50",
    "AP75": "AP_75",
    "AP_small": "AP_small",
    "AP_medium": "AP_medium",
    "AP_large": "AP_large",
    "AR1": "AR_all",  # the names of the library are those of COCO's list: 1, 10 and 100 detections per image
    "AR10": "AR_second",
    "AR100": "AR_third",
    "AR_small": "AR_small",
    "AR_medium": "AR_medium",
    "AR_large": "AR_large",
}
CLASS_METRICS = ("AP", "AP50", "AR100")


class _Evaluation(Protocol):
    """The part of ``COCOeval_faster`` that is used here."""

    eval: dict[str, NDArray[np.float64]]
    stats_as_dict: dict[str, float]

    def summarize(self) -> None: ...


def compute_metrics(truth: Dataset, predictions: RowsOrColumns) -> dict[str, float | None]:
    """Compute ``METRICS``: AP, AP50, AP75, AP and AR by size, and AR at 1, 10 and 100 detections, each from 0 to 1.

    A metric is None where the ground truth has no such object; it is 0 where there are objects and no predictions.

    Raises:
        DataError: If a prediction is for an image that the ground truth does not have, or has no finite numbers.
    """
    evaluation = _evaluate(truth, predictions)
    if evaluation is None:
        return dict.fromkeys(METRICS)
    evaluation.summarize()
    stats = evaluation.stats_as_dict
    return {ours: None if stats[theirs] < 0 else float(stats[theirs]) for ours, theirs in METRICS.items()}


def compute_class_metrics(truth: Dataset, predictions: RowsOrColumns) -> dict[str, dict[str, float | None]]:
    """Compute ``CLASS_METRICS`` of each class, from 0 to 1, by the class's name and in the order of the class ids.

    They are None for a class without objects. The names are those of ``class_names``.

    Raises:
        DataError: If a prediction is for an image that the ground truth does not have, or has no finite numbers.
    """
    evaluation = _evaluate(truth, predictions)
    found: dict[str, dict[str, float | None]] = {}
    for index, name in enumerate(class_names(truth).values()):
        if evaluation is None:
            found[name] = dict.fromkeys(CLASS_METRICS)
            continue
        precision = evaluation.eval["precision"][:, :, index, 0, -1]  # threshold, recall; all sizes, 100 detections
        recall = evaluation.eval["recall"][:, index, 0, -1]  # threshold
        found[name] = {"AP": _mean(precision), "AP50": _mean(precision[0]), "AR100": _mean(recall)}
    return found


def _mean(values: NDArray[np.float64]) -> float | None:
    """Return the mean as the evaluator computes it: -1 marks a class without objects."""
    values = values[values > -1]
    return float(values.mean()) if values.size else None


def _evaluate(truth: Dataset, predictions: RowsOrColumns) -> _Evaluation | None:
    """Run faster-coco-eval up to ``accumulate``; return None if there is no annotation."""
    from faster_coco_eval import COCO, COCOeval_faster  # type: ignore[import-untyped]

    ours = rows(predictions)  # new dicts: the evaluator adds keys
    check_images((image["id"] for image in truth["images"]), (prediction["image_id"] for prediction in ours))
    if not truth["annotations"]:
        return None
    reference = COCO({key: [dict(entry) for entry in truth[key]] for key in ("images", "annotations", "categories")})
    evaluation = COCOeval_faster(reference, reference.loadRes(ours), iouType="bbox", print_function=lambda *_: None)
    evaluation.evaluate()
    evaluation.accumulate()
    found: _Evaluation = evaluation
    return found
