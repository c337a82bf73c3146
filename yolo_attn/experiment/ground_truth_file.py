"""The labelled boxes on which every run of an experiment is evaluated: ``ground_truth.json``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import ClassVar

import msgspec

from ..errors import DataError
from ..metrics.coco_format import Annotation, Category, Dataset, Image
from .plan import Plan
from .storage import File, Part, read, write


class TruthInfo(Part, frozen=True):
    """Where the ground truth comes from.

    Attributes:
        split: The split.
        image_folder: The folder that file names are relative to, relative to the experiment's folder if possible.
        annotation_file: The COCO JSON that the data YAML names; null if the boxes are from label files.
    """

    split: str
    image_folder: str
    annotation_file: str | None = None


class GroundTruth(File, frozen=True):
    """The labelled boxes in COCO's format.

    Attributes:
        info: Where they come from.
        images: The images.
        annotations: The boxes.
        categories: The classes.
    """

    indented: ClassVar[bool] = False

    info: TruthInfo
    images: list[Image]
    annotations: list[Annotation]
    categories: list[Category]

    @property
    def coco(self) -> Dataset:
        """Images, annotations and categories as :mod:`yolo_attn.metrics` takes them."""
        return {"images": self.images, "annotations": self.annotations, "categories": self.categories}


def keep(plan: Plan, run: str, truth: GroundTruth, where: str = "") -> GroundTruth:
    """Keep the ground truth of the first run in the experiment's folder, and check that of the others against it.

    Args:
        plan: The experiment.
        run: Name of the run that was evaluated on ``truth``.
        truth: With an absolute ``image_folder``.
        where: The machine that evaluated it, if it is another one.

    Returns:
        The ground truth of the experiment.

    Raises:
        DataError: If an earlier run was evaluated on other images or boxes.
    """
    path = plan.folder / "ground_truth.json"
    kept = read(path, GroundTruth)
    if kept is None:
        info = msgspec.structs.replace(truth.info, image_folder=_relative(truth.info.image_folder, plan.folder))
        kept = msgspec.structs.replace(truth, info=info)
        write(path, kept)
    elif kept.coco != truth.coco:
        place, cause = (f" on {where}", "differs there") if where else ("", "has changed")
        raise DataError(
            f"{run} was validated{place} on other images or boxes than those in {path}; data set {plan.data} {cause}"
        )
    return kept


def _relative(path: str, folder: Path) -> str:
    try:
        return Path(os.path.relpath(path, folder.resolve())).as_posix()
    except ValueError:  # another drive
        return path
