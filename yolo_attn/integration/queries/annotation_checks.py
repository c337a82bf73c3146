"""Compare the COCO JSON that a data YAML names for a split with the split's images, classes and labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ultralytics.data.utils import img2label_paths
from ultralytics.utils import LOGGER

from ...data.annotation_agreement import Agreement, Boxes, agreement_of
from ...data.coco_annotations import Picture, annotation_files, read_truth
from ...data.coco_reading import read_size
from ...data.yolo_labels import boxes_in
from ...errors import DataError
from ...messages import counted
from .data_fingerprint import all_exist, images_of


def check(data: Mapping[str, Any]) -> list[str]:
    """Check the COCO JSON of val and test. Return warnings about what differs from the labels, and log them.

    Args:
        data: A data YAML's content with absolute paths, as ``check_det_dataset`` returns it.

    Raises:
        DataError: If a JSON lacks an image or a class, or its boxes cannot be those of the labels.
    """
    warnings = []
    for split, file in annotation_files(data).items():
        if split != "train" and all_exist(data.get(split)):
            warnings += _compared(split, file, pictures_of(data[split]), names_of(data["names"]))
    for warning in warnings:
        LOGGER.warning(warning)
    return warnings


def pictures_of(paths: Any) -> list[Picture]:
    """Return path, name, height and width of a split's images, read from their headers.

    Raises:
        DataError: If one is no image.
    """
    found: list[Picture] = []
    for path in sorted(images_of(paths)):
        try:
            width, height, _ = read_size(Path(path))
        except Exception:  # Pillow documents no narrower type for damaged files
            raise DataError(f"{path} cannot be read as an image; fix or remove it") from None
        found.append((path, path, height, width))
    return found


def names_of(names: Mapping[int, str]) -> list[str]:
    """Return the class names by index."""
    return [str(names[index]) for index in sorted(names)]


def _compared(split: str, file: Path, pictures: Sequence[Picture], names: Sequence[str]) -> list[str]:
    truth, ids = read_truth(file, pictures, names)
    labels = img2label_paths([path for path, *_ in pictures])
    boxes: dict[int, Boxes] = {}
    for (path, _, height, width), label in zip(pictures, labels, strict=True):
        rows = boxes_in(Path(label))
        x, y, w, h = rows[:, 1:].T
        pixels = ((x - w / 2) * width, (y - h / 2) * height, w * width, h * height)
        boxes[ids[path]] = np.stack([rows[:, 0], *pixels], axis=1)
    found = agreement_of(truth, boxes)
    if found.is_far:
        raise DataError(
            f"{_difference(split, file, found)}."
            f"{f' The boxes of the JSON fit {found.fits}.' if found.fits else ''} Correct the JSON or the labels, or "
            "delete the line to compute the COCO metrics from the labels"
        )
    if found.is_near:
        return []
    return [
        f"{_difference(split, file, found)}. The COCO metrics are from the JSON, mAP50 and mAP50-95 from the labels."
    ]


def _difference(split: str, file: Path, found: Agreement) -> str:
    crowd = f" and {counted(found.crowd, 'crowd region')}" if found.crowd else ""
    boxes = counted(found.annotation_boxes, "box", "boxes")
    images = counted(found.images, "image")
    return (
        f"annotations: {split}: {file.name} has {boxes}{crowd}, the labels have {found.label_boxes:,}; the numbers "
        f"differ in {found.differing} of {images} with objects, and the median IoU of the boxes is {found.overlap:.2f}"
    )
