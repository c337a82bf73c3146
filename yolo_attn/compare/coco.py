"""COCO's figures from ground truth and predictions, by faster-coco-eval; nothing here computes an average precision.

Both are in COCO's format: boxes ``[x, y, w, h]`` in pixels of the original image. The sizes are COCO's: small below
32 x 32 pixels, large above 96 x 96, by the area of the box (COCO's own ground truth uses the area of the segment).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

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


def ground_truth(
    images: Sequence[tuple[int, str, int, int]],
    boxes: Sequence[tuple[int, int, Sequence[float]]],
    names: Sequence[str],
) -> dict[str, Any]:
    """Return a COCO data set.

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


def figures(truth: dict[str, Any], predictions: Sequence[dict[str, Any]]) -> dict[str, float | None]:
    """Return AP, AP50, AP75, AP and AR by size, and AR with 1, 10 and 100 detections per image, each from 0 to 1.

    A figure is None where the ground truth has no object to find, as of a size; it is 0 where there are objects and
    nothing was predicted.

    Args:
        truth: As :func:`ground_truth` returns it.
        predictions: Dicts with ``image_id``, ``category_id``, ``bbox`` and ``score``; may be empty.

    Raises:
        ValueError: If a prediction is of an image that the ground truth does not have.
    """
    from faster_coco_eval import COCO, COCOeval_faster  # type: ignore[import-untyped]

    known = {image["id"] for image in truth["images"]}
    strangers = sorted({str(p["image_id"]) for p in predictions if p["image_id"] not in known})
    if strangers:
        raise ValueError(f"predictions of {len(strangers)} images without ground truth, as of image {strangers[0]}")
    if not truth["annotations"]:
        return dict.fromkeys(FIGURES)

    reference = COCO(copy.deepcopy(truth))  # both add keys to what they are given
    found = reference.loadRes(copy.deepcopy(list(predictions)))
    evaluation = COCOeval_faster(reference, found, iouType="bbox", print_function=_silent)
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    stats = evaluation.stats_as_dict
    return {ours: None if stats[theirs] < 0 else float(stats[theirs]) for ours, theirs in FIGURES.items()}


def _silent(*_: object) -> None:
    """Stand in for the library's print."""
