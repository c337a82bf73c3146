"""COCO's figures from ground truth and predictions, by faster-coco-eval; nothing here computes an average precision.

Both are in COCO's format: boxes ``[x, y, w, h]`` in pixels of the original image. The sizes are COCO's: small below
32 x 32 pixels, large above 96 x 96, by the ``area`` of the annotation. That is the area of the segment in COCO's own
ground truth, and the area of the box where the labels are YOLO's. A crowd region (``iscrowd``) is never missed, and
what is found inside it is neither right nor wrong. Of one image and class the 100 best predictions count.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from ..errors import DataError

Rows: TypeAlias = "Sequence[dict[str, Any]]"
Columns: TypeAlias = "Mapping[str, Sequence[Any]]"

COLUMNS = ("image_id", "category_id", "score", "bbox")

# our name -> faster-coco-eval's
FIGURES = {
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
PER_CLASS = ("AP", "AP50", "AR100")


def ground_truth(
    images: Sequence[tuple[int, str, int, int]],
    boxes: Sequence[tuple[int, int, Sequence[float]]],
    names: Sequence[str],
) -> dict[str, Any]:
    """Return a COCO data set made from boxes, as YOLO labels hold them: the area is the box's, nothing is crowd.

    Args:
        images: ``(id, file name, height, width)`` of each, pixels.
        boxes: ``(image id, class index, [x, y, w, h])`` of each object, pixels.
        names: The class names, by index.
    """
    return {
        "images": [{"id": i, "file_name": name, "height": h, "width": w} for i, name, h, w in images],
        "annotations": [
            {
                "id": number,
                "image_id": image,
                "category_id": category,
                "bbox": list(box),
                "area": box[2] * box[3],
                "iscrowd": 0,
            }
            for number, (image, category, box) in enumerate(boxes, start=1)
        ],
        "categories": [{"id": index, "name": name} for index, name in enumerate(names)],
    }


def rows(predictions: Rows | Columns) -> list[dict[str, Any]]:
    """Return predictions as one dict each: ``image_id``, ``category_id``, ``score``, ``bbox``.

    Args:
        predictions: The same as columns of equal length, as a record holds them, or as rows already.

    Raises:
        DataError: If a column is missing, or one is longer than another.
    """
    if not isinstance(predictions, Mapping):
        return list(predictions)
    missing = [name for name in COLUMNS if name not in predictions]
    lengths = {name: len(predictions[name]) for name in COLUMNS if name in predictions}
    if missing or len(set(lengths.values())) > 1:
        found = ", ".join(f"{name} {length}" for name, length in lengths.items()) or "none"
        raise DataError(f"predictions need the columns {', '.join(COLUMNS)} in equal length; they have {found}")
    values = zip(*(predictions[name] for name in COLUMNS), strict=True)
    return [dict(zip(COLUMNS, row, strict=True)) for row in values]


def columns(predictions: Rows | Columns) -> dict[str, list[Any]]:
    """Return predictions as columns: a quarter of the bytes of :func:`rows` in JSON."""
    found = rows(predictions)
    return {name: [row[name] for row in found] for name in COLUMNS}


def check_images(truth: dict[str, Any], ids: Iterable[Any]) -> None:
    """Refuse predictions of images that are not in the ground truth.

    Raises:
        DataError: If there is one; says how many images, and names the first.
    """
    strangers = sorted(map(str, set(ids) - {image["id"] for image in truth["images"]}))
    if strangers:
        raise DataError(f"predictions of {len(strangers)} images without ground truth, as of image {strangers[0]}")


def figures(truth: dict[str, Any], predictions: Rows | Columns) -> dict[str, float | None]:
    """Return AP, AP50, AP75, AP and AR by size, and AR with 1, 10 and 100 detections per image, each from 0 to 1.

    A figure is None where the ground truth has no object to find, as of a size; it is 0 where there are objects and
    nothing was predicted.

    Args:
        truth: A data set in COCO's format, as :func:`ground_truth` returns it.
        predictions: As :func:`rows` or :func:`columns` return them; may be empty.

    Raises:
        DataError: If a prediction is of an image that the ground truth does not have.
    """
    evaluation = _evaluation(truth, predictions)
    if evaluation is None:
        return dict.fromkeys(FIGURES)
    evaluation.summarize()
    stats = evaluation.stats_as_dict
    return {ours: None if stats[theirs] < 0 else float(stats[theirs]) for ours, theirs in FIGURES.items()}


def per_class(truth: dict[str, Any], predictions: Rows | Columns) -> dict[str, dict[str, float | None]]:
    """Return AP, AP50 and AR100 of each class, each from 0 to 1, by the class's name in the order of the class ids.

    They are None for a class that the ground truth has no object of. The names are those of :func:`class_names`.

    Args:
        truth: As for :func:`figures`.
        predictions: As for :func:`figures`.

    Raises:
        DataError: If a prediction is of an image that the ground truth does not have.
    """
    evaluation = _evaluation(truth, predictions)
    found: dict[str, dict[str, float | None]] = {}
    for index, name in enumerate(class_names(truth).values()):
        if evaluation is None:
            found[name] = dict.fromkeys(PER_CLASS)
            continue
        precision = evaluation.eval["precision"][:, :, index, 0, -1]  # threshold, recall; all sizes, 100 detections
        recall = evaluation.eval["recall"][:, index, 0, -1]  # threshold
        found[name] = {"AP": _mean(precision), "AP50": _mean(precision[0]), "AR100": _mean(recall)}
    return found


def class_names(truth: Mapping[str, Any]) -> dict[int, str]:
    """Return the classes' names by id, in the order of the ids; of two of one name the second is ``name (id)``."""
    found: dict[int, str] = {}
    for category in sorted(truth["categories"], key=lambda category: category["id"]):
        name, number = category["name"], category["id"]
        found[number] = f"{name} ({number})" if name in found.values() else name
    return found


def _mean(values: Any) -> float | None:
    """Return the mean as the evaluator takes it: -1 stands for a class without objects."""
    values = values[values > -1]
    return float(values.mean()) if values.size else None


def _evaluation(truth: dict[str, Any], predictions: Rows | Columns) -> Any:
    """Return faster-coco-eval's evaluation, accumulated; None if there is no annotation."""
    from faster_coco_eval import COCO, COCOeval_faster  # type: ignore[import-untyped]

    ours = rows(predictions) if isinstance(predictions, Mapping) else [dict(prediction) for prediction in predictions]
    check_images(truth, (prediction["image_id"] for prediction in ours))
    if not truth["annotations"]:
        return None
    reference = COCO({key: [dict(entry) for entry in truth[key]] for key in ("images", "annotations", "categories")})
    found = reference.loadRes(ours)  # both add keys to the dicts, so none of them is the caller's
    evaluation = COCOeval_faster(reference, found, iouType="bbox", print_function=_silent)
    evaluation.evaluate()
    evaluation.accumulate()
    return evaluation


def _silent(*_: object) -> None:
    """Stand in for the library's print."""
