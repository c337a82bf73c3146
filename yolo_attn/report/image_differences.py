"""The images in which the baseline and a variant differ most, and what each found there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..experiment.folder_contents import Experiment
from ..metrics import rows
from ..metrics.coco_format import Predictions

if TYPE_CHECKING:
    from numpy.typing import NDArray


SURE = 0.25  # the score from which on `yolo predict` shows a box
SAME = 0.5  # IoU from which on a box is found


@dataclass(frozen=True)
class Box:
    """A box in an image.

    Attributes:
        xywh: Left, top, width and height, pixels of the image.
        name: The class.
        score: Of a prediction; None for an object.
        state: ``object``; of a prediction ``right`` or ``wrong``; ``missed`` is an object that was not found.
    """

    xywh: tuple[float, float, float, float]
    name: str
    score: float | None
    state: str


@dataclass(frozen=True)
class Found:
    """What a model found in one image: its boxes, and the objects that it missed."""

    boxes: tuple[Box, ...]
    right: int
    wrong: int
    missed: int

    @property
    def mistakes(self) -> int:
        """Wrong boxes and missed objects."""
        return self.wrong + self.missed


@dataclass(frozen=True)
class Differing:
    """An image in which two models differ.

    Attributes:
        image: Its entry in the ground truth.
        variant: Title of the variant.
        seed: The seed of both runs.
        objects: The ground truth.
        base: What the baseline found.
        other: What the variant found.
    """

    image: Mapping[str, Any]
    variant: str
    seed: int
    objects: tuple[Box, ...]
    base: Found
    other: Found


def differing(experiment: Experiment, results: Mapping[str, Any], most: int = 12) -> list[Differing]:
    """Return the images in which a variant makes many more or many fewer mistakes than the baseline.

    A mistake is a wrong box (score 0.25 at least, no object of its class with IoU 0.5 that a better one has not) or a
    missed object. Each variant is compared at the first seed that counts for it; an image is shown once, with the
    variant that differs most there; images without a difference are left out.

    Args:
        experiment: With ground truth and records.
        results: What is known about the models.
        most: How many images at most.
    """
    if experiment.truth is None:
        return []
    objects = _by_image(experiment.truth.annotations)
    names = {category["id"]: str(category["name"]) for category in experiment.truth.categories}
    base = next((model for model in results["models"] if model["role"] == "baseline"), None)
    best: dict[Any, tuple[int, str, int, int]] = {}
    kept: dict[tuple[str, int], dict[Any, list[Mapping[str, Any]]]] = {}
    mistakes: dict[tuple[str, int], dict[Any, int]] = {}

    def look(title: str, seed: int) -> dict[Any, int] | None:
        columns = experiment.records[title][seed].predictions
        if columns is None:
            return None
        if (title, seed) not in kept:
            kept[title, seed] = _sure(columns)
            mistakes[title, seed] = {
                image["id"]: find(objects.get(image["id"], []), kept[title, seed].get(image["id"], []), names).mistakes
                for image in experiment.truth.images  # type: ignore[union-attr]
            }
        return mistakes[title, seed]

    for model in results["models"]:
        if base is None or model["role"] != "variant" or not model["effect"]:
            continue
        seed, other = model["seeds"][0], model["base_seeds"][0]
        mine, its = look(model["title"], seed), look(base["title"], other)
        if mine is None or its is None:
            continue
        for image, number in mine.items():
            change = abs(its[image] - number)
            if change and change > best.get(image, (0, "", 0, 0))[0]:
                best[image] = (change, model["title"], seed, other)
    images = {image["id"]: image for image in experiment.truth.images}
    chosen = sorted(best, key=lambda image: (-best[image][0], list(images).index(image)))[:most]
    found = []
    for image in chosen:
        _, title, seed, other = best[image]
        real = objects.get(image, [])
        assert base is not None, "without a baseline nothing was compared"
        found.append(
            Differing(
                images[image],
                title,
                seed,
                tuple(Box(_xywh(o), names.get(o["category_id"], "?"), None, "object") for o in real),
                find(real, kept[base["title"], other].get(image, []), names),
                find(real, kept[title, seed].get(image, []), names),
            )
        )
    return found


def find(
    objects: Sequence[Mapping[str, Any]], predictions: Sequence[Mapping[str, Any]], names: Mapping[Any, str]
) -> Found:
    """Return which predictions are right, by falling score, and which objects are missed; crowd regions are neither.

    Args:
        objects: Annotations of one image in COCO's format.
        predictions: Predictions of that image in COCO's format.
        names: Class names by id.
    """
    crowd = np.array([bool(o.get("iscrowd") or o.get("ignore")) for o in objects], dtype=bool)
    overlaps = _overlaps(predictions, objects, crowd)
    taken = np.zeros(len(objects), dtype=bool)
    boxes = []
    right = wrong = 0
    for index in sorted(range(len(predictions)), key=lambda i: -predictions[i]["score"]):
        prediction = predictions[index]
        same = np.array([o["category_id"] == prediction["category_id"] for o in objects], dtype=bool)
        fits = same & ~taken & ~crowd & (overlaps[index] >= SAME)
        state = "right" if fits.any() else "wrong"
        if fits.any():
            taken[int(np.argmax(np.where(fits, overlaps[index], -1.0)))] = True
            right += 1
        elif (crowd & same & (overlaps[index] >= SAME)).any():
            continue
        else:
            wrong += 1
        name = names.get(prediction["category_id"], "?")
        boxes.append(Box(_xywh(prediction), name, float(prediction["score"]), state))
    lost = [o for o, ok in zip(objects, taken | crowd, strict=True) if not ok]
    boxes += [Box(_xywh(o), names.get(o["category_id"], "?"), None, "missed") for o in lost]
    return Found(tuple(boxes), right, wrong, len(lost))


def _overlaps(
    predictions: Sequence[Mapping[str, Any]], objects: Sequence[Mapping[str, Any]], crowd: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return IoU as ``(predictions, objects)``; for a crowd region the part of the prediction that lies in it."""
    from faster_coco_eval import mask  # type: ignore[import-untyped]

    one, other = (np.array([entry["bbox"] for entry in each], np.float64) for each in (predictions, objects))
    shape = (len(predictions), len(objects))
    if not all(shape):
        return np.zeros(shape)
    return np.asarray(mask.iou(one, other, crowd.astype(int).tolist()), np.float64).reshape(shape)


def _xywh(entry: Mapping[str, Any]) -> tuple[float, float, float, float]:
    x, y, w, h = map(float, entry["bbox"])
    return x, y, w, h


def _by_image(entries: Sequence[Mapping[str, Any]]) -> dict[Any, list[Mapping[str, Any]]]:
    found: dict[Any, list[Mapping[str, Any]]] = {}
    for entry in entries:
        found.setdefault(entry["image_id"], []).append(entry)
    return found


def _sure(columns: Predictions) -> dict[Any, list[Mapping[str, Any]]]:
    """Return the predictions with a score from ``SURE`` on, by image."""
    return _by_image([row for row in rows(columns) if row["score"] >= SURE])
