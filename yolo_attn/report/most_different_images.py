"""Find the images in which the baseline and a variant differ most, and what each detected there."""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from ..experiment.folder_contents import Experiment
from ..experiment.results import Results
from ..metrics import Prediction, rows
from ..metrics.coco_format import Annotation, Image
from ..metrics.matching import assign, overlaps

MOST = 12  # images
MIN_SCORE = 0.25  # from which on `yolo predict` shows a box
MIN_IOU = 0.5  # from which on an object counts as detected
Entry = TypeVar("Entry", Annotation, Prediction)


@dataclass(frozen=True)
class Box:
    """A box in an image.

    Attributes:
        xywh: Left, top, width and height in pixels of the image.
        name: The class.
        score: Score of a prediction; None for an object.
        state: ``object``; ``right`` or ``wrong`` for a prediction; ``missed`` for an object without a prediction.
    """

    xywh: tuple[float, float, float, float]
    name: str
    score: float | None
    state: str


@dataclass(frozen=True)
class Judgement:
    """What a model detected in one image: its boxes, and the objects that it missed."""

    boxes: tuple[Box, ...]
    right: int
    wrong: int
    missed: int

    @property
    def errors(self) -> int:
        """Wrong boxes and missed objects."""
        return self.wrong + self.missed


@dataclass(frozen=True)
class ImageDifference:
    """An image in which two models differ.

    Attributes:
        image: Its entry in the ground truth.
        variant: Name of the variant.
        seed: The seed of both runs.
        objects: The ground truth.
        base: What the baseline detected.
        other: What the variant detected.
    """

    image: Image
    variant: str
    seed: int
    objects: tuple[Box, ...]
    base: Judgement
    other: Judgement


def largest_differences(experiment: Experiment, results: Results) -> list[ImageDifference]:
    """Return at most ``MOST`` images in which a variant makes many more or many fewer errors than the baseline.

    An error is a missed object or a wrong box: one with a score of 0.25 or more that is not assigned an object of its
    class with IoU 0.5. Each variant is compared at the first seed that counts for it. An image is returned once, with
    the variant that differs most there; images without a difference are left out.
    """
    truth, base = experiment.truth, results.baseline
    if truth is None or base is None:
        return []
    objects = _by_image(truth.annotations)
    names = {category["id"]: category["name"] for category in truth.categories}

    @functools.cache
    def judge_run(model: str, seed: int) -> list[Judgement]:
        """Return the judgement for each image; none without predictions."""
        predictions = experiment.records[model][seed].predictions
        if predictions is None:
            return []
        shown = _by_image(row for row in rows(predictions) if row["score"] >= MIN_SCORE)
        return [judge_boxes(objects[image["id"]], shown[image["id"]], names) for image in truth.images]

    best: dict[int, tuple[int, ImageDifference]] = {}  # by index of the image
    for model in results.compared:
        if model.role != "variant":
            continue
        seed = model.seeds[0]
        mine, its = judge_run(model.name, seed), judge_run(base.name, model.base_seeds[0])
        for index, (image, own, other) in enumerate(zip(truth.images, mine, its, strict=bool(mine and its))):
            change = abs(own.errors - other.errors)
            if change > (best[index][0] if index in best else 0):
                real = tuple(_box(entry, names, None, "object") for entry in objects[image["id"]])
                best[index] = change, ImageDifference(image, model.name, seed, real, other, own)
    chosen = sorted(best, key=lambda index: (-best[index][0], index))[:MOST]
    return [best[index][1] for index in chosen]


def judge_boxes(
    objects: Sequence[Annotation], predictions: Sequence[Prediction], names: Mapping[int, str]
) -> Judgement:
    """Return which predictions for one image are right and which objects are missed; crowd regions are neither."""
    found = sorted(predictions, key=lambda prediction: -prediction["score"])
    crowd = np.array([bool(entry.get("iscrowd")) for entry in objects], dtype=bool)
    boxes, theirs = (np.array([entry["bbox"] for entry in each], np.float64) for each in (found, objects))
    own, labels = (np.array([entry["category_id"] for entry in each]) for each in (found, objects))
    overlap = overlaps(boxes, theirs, crowd) * (own[:, None] == labels)
    assigned = assign(overlap, np.array([MIN_IOU]), crowd=crowd, ignored=crowd[None], ties="first")[:, 0, 0]
    shown = [
        _box(prediction, names, prediction["score"], "wrong" if index < 0 else "right")
        for prediction, index in zip(found, assigned.tolist(), strict=True)
        if index < 0 or not crowd[index]
    ]
    absent = ~crowd & ~np.isin(np.arange(len(objects)), assigned)
    missed = [_box(objects[index], names, None, "missed") for index in np.flatnonzero(absent).tolist()]
    right = sum(box.state == "right" for box in shown)
    return Judgement((*shown, *missed), right, len(shown) - right, len(missed))


def _box(entry: Annotation | Prediction, names: Mapping[int, str], score: float | None, state: str) -> Box:
    x, y, w, h = map(float, entry["bbox"])
    return Box((x, y, w, h), names.get(entry["category_id"], "?"), score, state)


def _by_image(entries: Iterable[Entry]) -> dict[int, list[Entry]]:
    found: dict[int, list[Entry]] = defaultdict(list)
    for entry in entries:
        found[entry["image_id"]].append(entry)
    return found
