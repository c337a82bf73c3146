"""Types and helpers of COCO's format: images, labelled boxes, classes, and predictions in rows or columns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, TypeAlias, TypedDict

import numpy as np
from msgspec import Meta

from ..errors import DataError
from ..messages import counted, joined

Sides: TypeAlias = Annotated[list[float], Meta(min_length=4, max_length=4)]


class Image(TypedDict):
    """An image in COCO's format.

    Attributes:
        id: Its identifier.
        file_name: Its file, relative to ``image_folder``.
        height: Height in pixels.
        width: Width in pixels.
    """

    id: int
    file_name: str
    height: int
    width: int


class Annotation(TypedDict):
    """A labelled box in COCO's format.

    Attributes:
        id: Its identifier.
        image_id: The image.
        category_id: The class.
        bbox: Left, top, width and height in pixels.
        area: Area of the object in square pixels.
        iscrowd: 1 for a region that covers many objects, else 0.
    """

    id: int
    image_id: int
    category_id: int
    bbox: Sides
    area: float
    iscrowd: int


class Category(TypedDict):
    """A class in COCO's format.

    Attributes:
        id: Its index.
        name: Its name.
    """

    id: int
    name: str


class Predictions(TypedDict):
    """Every predicted box of the split in columns of equal length: the ``n``-th entries belong together.

    Attributes:
        image_id: The image's ``id`` in ``ground_truth.json``.
        category_id: The class's ``id`` in ``ground_truth.json``.
        score: Confidence, from 0 to 1.
        bbox: Left, top, width and height in pixels of the original image.
    """

    image_id: list[int]
    category_id: list[int]
    score: list[float]
    bbox: list[Sides]


class Dataset(TypedDict):
    """The objects in a set of images, in COCO's format."""

    images: list[Image]
    annotations: list[Annotation]
    categories: list[Category]


class Prediction(TypedDict):
    """One predicted box."""

    image_id: int
    category_id: int
    score: float
    bbox: list[float]


RowsOrColumns: TypeAlias = "Sequence[Prediction] | Predictions"
COLUMNS = ("image_id", "category_id", "score", "bbox")


def boxes_to_coco(
    images: Sequence[tuple[int, str, int, int]], boxes: Sequence[tuple[int, int, Sequence[float]]], names: Sequence[str]
) -> Dataset:
    """Make a COCO data set from the boxes of YOLO labels: an object's area is its box's, and none is a crowd.

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


def rows(predictions: RowsOrColumns) -> list[Prediction]:
    """Return predictions as rows.

    Raises:
        DataError: As :func:`checked` does.
    """
    found = checked(predictions)
    values = zip(*(found[name] for name in COLUMNS), strict=True)  # type: ignore[literal-required]
    return [Prediction(image_id=i, category_id=c, score=score, bbox=box) for i, c, score, box in values]


def columns(predictions: RowsOrColumns) -> Predictions:
    """Return predictions as columns, which take a quarter of the bytes of rows in JSON.

    Raises:
        DataError: If a row lacks a key.
    """
    if isinstance(predictions, dict):
        return predictions
    for number, row in enumerate(predictions):
        if missing := [name for name in COLUMNS if name not in row]:
            raise DataError(f"prediction {number} has no {joined(missing)}")
    return Predictions(**{name: [row[name] for row in predictions] for name in COLUMNS})  # type: ignore


def checked(predictions: RowsOrColumns) -> Predictions:
    """Return predictions as columns after checking what every metric needs. Every function here calls it.

    Raises:
        DataError: If a column is missing, or the columns differ in length (gives the length of each), or a score or a
            box is no finite number (names the first).
    """
    found = columns(predictions)
    lengths = {name: len(found[name]) for name in COLUMNS if name in found}  # type: ignore[literal-required]
    if len(lengths) < len(COLUMNS) or len(set(lengths.values())) > 1:
        shown = joined(f"{name} {length}" for name, length in lengths.items()) or "none"
        raise DataError(f"predictions need the columns {joined(COLUMNS)} in equal length; they have {shown}")
    try:
        numbers = np.column_stack([np.array(found["score"], float), np.array(found["bbox"], float).reshape(-1, 4)])
        good = np.isfinite(numbers).all(axis=1)
    except (TypeError, ValueError):  # text, or boxes of another length
        good = np.array([_is_good(*both) for both in zip(found["score"], found["bbox"], strict=True)], bool)
    if not good.all():
        first = int(good.argmin())
        score, box = found["score"][first], found["bbox"][first]
        raise DataError(f"prediction {first} has score {score} and box {box}; give one and four finite numbers")
    return found


def _is_good(score: object, box: object) -> bool:
    try:
        return bool(np.isfinite(np.array([score, *box], float)).all()) and len(box) == 4  # type: ignore
    except (TypeError, ValueError):
        return False


def check_images(known: Iterable[int], predicted: Iterable[int]) -> None:
    """Refuse predictions for images that the ground truth does not have.

    Raises:
        DataError: Says how many such images there are, and names the first.
    """
    unknown = sorted(set(predicted) - set(known))
    if unknown:
        raise DataError(
            f"predictions for {counted(len(unknown), 'image')} without ground truth, for example image {unknown[0]}"
        )


def class_names(truth: Dataset) -> dict[int, str]:
    """Return the class names by id, in the order of the ids; the second of two equal names becomes ``name (id)``."""
    found: dict[int, str] = {}
    for category in sorted(truth["categories"], key=lambda category: category["id"]):
        name, number = category["name"], category["id"]
        found[number] = f"{name} ({number})" if name in found.values() else name
    return found
