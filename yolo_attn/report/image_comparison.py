"""Compare what baseline and variants detect, image by image: where they differ most, and in images drawn at random."""

from __future__ import annotations

import functools
import random
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from ..experiment.folder_contents import Experiment
from ..experiment.results import ModelResult, Results
from ..metrics import Prediction, rows
from ..metrics.coco_format import Annotation, Image
from ..metrics.matching import assign, overlaps

if TYPE_CHECKING:
    from ..metrics.matching import Flags, Floats, Ints

MOST = 6  # images with the largest differences, and as many at random
MIN_IOU = 0.5  # from which on an object counts as detected
LEAST_SCORE = 0.01  # lower thresholds are not tried; `yolo val` keeps boxes from 0.001 on
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
    """An image, and what two models detected in it.

    Attributes:
        image: Its entry in the ground truth.
        variant: Name of the variant.
        seeds: The variant's seeds.
        changes: Errors of the variant minus those of the baseline, for each seed.
        shown: The seed of ``other``: the one whose change is nearest to the mean.
        objects: The ground truth.
        base: What the baseline detected.
        other: What the variant detected.
    """

    image: Image
    variant: str
    seeds: tuple[int, ...]
    changes: tuple[int, ...]
    shown: int
    objects: tuple[Box, ...]
    base: Judgement
    other: Judgement

    @property
    def change(self) -> float:
        """The mean of ``changes``."""
        return statistics.fmean(self.changes)


@dataclass(frozen=True)
class ImageErrors:
    """The errors of a model, image by image: missed objects and wrong boxes.

    A wrong box is one with a score of at least ``threshold`` that is not assigned an object of its class with IoU 0.5.

    Attributes:
        model: The model.
        threshold: The score with the best F1 of all boxes of all seeds.
        f1: That F1, from 0 to 1.
        counts: ``(seeds, images)``: number of errors.
    """

    model: ModelResult
    threshold: float
    f1: float
    counts: Ints


@dataclass(frozen=True)
class ImageComparison:
    """The images in which a variant differs from the baseline.

    Attributes:
        errors: The errors of each model, baseline first.
        largest: At most ``MOST`` images with the largest mean difference in errors, each with the variant that differs
            most there; images without a difference are left out.
        random: At most ``MOST`` images drawn at random from all, the same ones every time; the variants take turns.
    """

    errors: tuple[ImageErrors, ...]
    largest: tuple[ImageDifference, ...] = ()
    random: tuple[ImageDifference, ...] = ()


def compare_images(experiment: Experiment, results: Results) -> ImageComparison:
    """Compare baseline and variants in every image, over all seeds, each model at the score with its best F1."""
    truth, base = experiment.truth, results.baseline
    if truth is None or base is None:
        return ImageComparison(())
    variants = [model for model in results.compared if model.role == "variant"]
    objects = _by_image(truth.annotations)
    names = {category["id"]: category["name"] for category in truth.categories}

    @functools.cache
    def found_by(model: str, seed: int) -> Mapping[int, list[Prediction]]:
        predictions = experiment.records[model][seed].predictions
        return _by_image(row for row in rows(predictions or []) if row["score"] >= LEAST_SCORE)

    errors = []
    for model in (base, *variants):
        if any(experiment.records[model.name][seed].predictions is None for seed in model.seeds):
            return ImageComparison(())
        scores = [
            [_scores(objects[image["id"]], found_by(model.name, seed)[image["id"]]) for image in truth.images]
            for seed in model.seeds
        ]
        errors.append(_errors(model, scores))
    thresholds = {each.model.name: each.threshold for each in errors}

    def judge(model: str, seed: int, image: int) -> Judgement:
        shown = [row for row in found_by(model, seed)[image] if row["score"] >= thresholds[model]]
        return judge_boxes(objects[image], shown, names)

    def difference(other: ImageErrors, index: int) -> ImageDifference:
        image, model = truth.images[index], other.model
        changes = _changes(other, errors[0])[:, index].tolist()
        middle = min(range(len(changes)), key=lambda k: abs(changes[k] - statistics.fmean(changes)))
        return ImageDifference(
            image=image,
            variant=model.name,
            seeds=model.seeds,
            changes=tuple(changes),
            shown=model.seeds[middle],
            objects=tuple(_box(entry, names, None, "object") for entry in objects[image["id"]]),
            base=judge(base.name, model.base_seeds[middle], image["id"]),
            other=judge(model.name, model.seeds[middle], image["id"]),
        )

    others, images = errors[1:], len(truth.images)
    if not others:
        return ImageComparison(tuple(errors))
    means = np.array([_changes(other, errors[0]).mean(axis=0) for other in others])  # (variants, images)
    most = np.abs(means).argmax(axis=0)
    sizes = np.abs(means).max(axis=0)
    order = [index for index in np.argsort(-sizes, kind="stable").tolist() if sizes[index] > 0][:MOST]
    drawn = random.Random(0).sample(range(images), min(MOST, images))
    return ImageComparison(
        tuple(errors),
        tuple(difference(others[most[index]], index) for index in order),
        tuple(difference(others[number % len(others)], index) for number, index in enumerate(drawn)),
    )


def _changes(other: ImageErrors, base: ImageErrors) -> Ints:
    """Return ``(seeds, images)``: errors of the variant minus those of the baseline at the seed it is compared with."""
    seeds = [base.model.seeds.index(seed) for seed in other.model.base_seeds]
    changes: Ints = other.counts - base.counts[seeds]
    return changes


def better_and_worse(other: ImageErrors, base: ImageErrors) -> tuple[int, int]:
    """Return the number of images in which the variant makes fewer errors than the baseline, and more, in the mean."""
    change = _changes(other, base).mean(axis=0)
    return int((change < 0).sum()), int((change > 0).sum())


def _scores(objects: Sequence[Annotation], predictions: Sequence[Prediction]) -> tuple[Floats, Floats, int]:
    """Return the scores of the right boxes and of the wrong ones in an image, and the number of objects."""
    found, assigned, crowd = _assigned(objects, predictions)
    scores = np.array([prediction["score"] for prediction in found], dtype=np.float64)
    in_crowd = (assigned >= 0) & np.append(crowd, False)[assigned]
    return scores[(assigned >= 0) & ~in_crowd], scores[assigned < 0], int((~crowd).sum())


def _errors(model: ModelResult, scores: Sequence[Sequence[tuple[Floats, Floats, int]]]) -> ImageErrors:
    """Return the errors at the threshold with the best F1; ``scores`` are those of each image of each seed."""
    every = [image for seed in scores for image in seed]
    right, wrong = (np.sort(np.concatenate([image[k] for image in every])) for k in (0, 1))
    objects = sum(image[2] for image in every)
    tried = np.unique(np.concatenate([right, wrong, [1.0]]))
    hits, false = (len(each) - np.searchsorted(each, tried) for each in (right, wrong))
    f1 = 2 * hits / np.maximum(hits + false + objects, 1)
    best = int(f1.argmax())
    threshold = float(tried[best])
    counts = [[int((w >= threshold).sum() + n - (r >= threshold).sum()) for r, w, n in seed] for seed in scores]
    return ImageErrors(model, threshold, float(f1[best]), np.array(counts, dtype=np.int64))


def _assigned(objects: Sequence[Annotation], predictions: Sequence[Prediction]) -> tuple[list[Prediction], Ints, Flags]:
    """Return the predictions by falling score, the index of the object of each (else -1), and which are crowds."""
    found = sorted(predictions, key=lambda prediction: -prediction["score"])
    crowd = np.array([bool(entry.get("iscrowd")) for entry in objects], dtype=bool)
    boxes, theirs = (np.array([entry["bbox"] for entry in each], np.float64) for each in (found, objects))
    own, labels = (np.array([entry["category_id"] for entry in each]) for each in (found, objects))
    overlap = overlaps(boxes, theirs, crowd) * (own[:, None] == labels)
    return found, assign(overlap, np.array([MIN_IOU]), crowd=crowd, ignored=crowd[None], ties="first")[:, 0, 0], crowd


def judge_boxes(
    objects: Sequence[Annotation], predictions: Sequence[Prediction], names: Mapping[int, str]
) -> Judgement:
    """Return which predictions for one image are right and which objects are missed; crowd regions are neither."""
    found, assigned, crowd = _assigned(objects, predictions)
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
