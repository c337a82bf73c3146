"""Compare the boxes of a COCO JSON with those of the label files of the same images.

COCO's metrics are computed from the JSON, while training and Ultralytics' metrics use the labels. So they must be the
same boxes, apart from crowd regions, which labels do not have.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# A larger share of images with another number of boxes, or a smaller overlap, is refused: JSON and labels then differ
# in most images, or for most boxes; below an IoU of 0.5 even a model that repeats the labels is wrong in AP50.
MOST_DIFFERING = 0.5
LEAST_OVERLAP = 0.5
EQUAL = 0.9  # the overlap below which boxes count as moved: coordinates rounded to a pixel keep more of most boxes

Boxes = NDArray[np.float64]  # (N, 5): class, left, top, width, height


@dataclass(frozen=True)
class Agreement:
    """How far the boxes of a COCO JSON and of label files agree.

    Attributes:
        images: Number of images with a box in the JSON or in the labels.
        differing: Number of images with another number of boxes.
        annotation_boxes: Number of boxes in the JSON without crowd regions.
        crowd: Number of crowd regions.
        label_boxes: Number of boxes in the labels.
        overlap: The median over all boxes of the best IoU with a box of the same class on the other side; 1 without
            boxes.
        fits: How the numbers of the JSON would fit the labels; empty if they do, or if no way is known.
    """

    images: int
    differing: int
    annotation_boxes: int
    crowd: int
    label_boxes: int
    overlap: float
    fits: str

    @property
    def is_far(self) -> bool:
        """Whether the JSON and the labels cannot be of the same boxes."""
        return bool(self.label_boxes) and (
            self.overlap < LEAST_OVERLAP or self.differing > MOST_DIFFERING * self.images
        )

    @property
    def is_near(self) -> bool:
        """Whether they are the same boxes."""
        return self.annotation_boxes == self.label_boxes and not self.differing and self.overlap >= EQUAL


def agreement_of(truth: Mapping[str, Any], labels: Mapping[int, Boxes]) -> Agreement:
    """Compare a JSON with labels.

    Args:
        truth: The JSON's content, with class indices as category ids.
        labels: The boxes of each image by its id, pixels.
    """
    sizes = {image["id"]: (image["width"], image["height"]) for image in truth["images"]}
    ours: dict[int, list[list[float]]] = {number: [] for number in sizes}
    crowd = 0
    for entry in truth["annotations"]:
        if entry["iscrowd"]:
            crowd += 1
        else:
            ours[entry["image_id"]].append([entry["category_id"], *entry["bbox"]])
    pairs = {
        number: (np.array(boxes, np.float64).reshape(-1, 5), labels[number])
        for number, boxes in ours.items()
        if boxes or len(labels[number])
    }
    overlap = _overlap(list(pairs.values()))
    return Agreement(
        images=len(pairs),
        differing=sum(len(one) != len(other) for one, other in pairs.values()),
        annotation_boxes=sum(len(one) for one, _ in pairs.values()),
        crowd=crowd,
        label_boxes=sum(len(other) for _, other in pairs.values()),
        overlap=overlap,
        fits=_what_fits(pairs, sizes) if overlap < LEAST_OVERLAP else "",
    )


def _overlap(pairs: Sequence[tuple[Boxes, Boxes]]) -> float:
    best = [value for one, other in pairs for value in _best_overlaps(one, other)]
    return float(statistics.median(best)) if best else 1.0


def _best_overlaps(one: Boxes, other: Boxes) -> list[float]:
    """Return for each box of both sides the best IoU with a box of its class on the other side."""
    if not len(one) or not len(other):
        return [0.0] * (len(one) + len(other))
    a, b = one[:, None], other[None]
    low = np.maximum(a[..., 1:3], b[..., 1:3])
    high = np.minimum(a[..., 1:3] + a[..., 3:], b[..., 1:3] + b[..., 3:])
    shared = np.clip(high - low, 0, None).prod(-1)
    union = a[..., 3:].prod(-1) + b[..., 3:].prod(-1) - shared
    iou = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0) * (a[..., 0] == b[..., 0])
    return [*iou.max(1), *iou.max(0)]


def _what_fits(pairs: Mapping[int, tuple[Boxes, Boxes]], sizes: Mapping[int, tuple[int, int]]) -> str:
    """Return how the numbers of the JSON would fit the labels; empty if no known convention does."""

    def edited(change: Callable[[Boxes, int], Boxes]) -> float:
        return _overlap([(change(one, number), other) for number, (one, other) in pairs.items()])

    def scaled(one: Boxes, by: Any) -> Boxes:
        return one * np.array([1.0, *np.broadcast_to(by, 4)])

    def corners(one: Boxes, _: int) -> Boxes:
        return np.concatenate([one[:, :3], one[:, 3:] - one[:, 1:3]], axis=1)

    def centres(one: Boxes, _: int) -> Boxes:
        return np.concatenate([one[:, :1], one[:, 1:3] - one[:, 3:] / 2, one[:, 3:]], axis=1)

    without_class = _overlap([(one * [0, 1, 1, 1, 1], other * [0, 1, 1, 1, 1]) for one, other in pairs.values()])
    sides = [float(sum(boxes[:, 3:].sum() for boxes in side)) for side in zip(*pairs.values(), strict=True)]
    factor = sides[1] / sides[0] if sides[0] > 0 else 1.0
    known = {
        "as left, top, right, bottom; COCO's bbox is left, top, width, height": edited(corners),
        "as x centre, y centre, width, height; COCO's bbox is left, top, width, height": edited(centres),
        "as parts of the image's size; COCO's bbox is in pixels": edited(
            lambda one, number: scaled(one, [*sizes[number], *sizes[number]])
        ),
        f"if multiplied by {factor:.3g}": edited(lambda one, _: scaled(one, factor)),
        "with other classes: the order of names: is not that of the labels": without_class,
    }
    best = max(known, key=lambda way: known[way])
    return best if known[best] >= EQUAL else ""
