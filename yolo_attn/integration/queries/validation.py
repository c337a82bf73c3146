"""Check training arguments and data, find where a training stopped, and validate a checkpoint on a split.

The validation is Ultralytics' own (as ``yolo val``). We extend its validator to keep each prediction with its image,
because the image id in its ``predictions.json`` is the file's stem, which is the same for ``a/1.jpg`` and ``b/1.jpg``.

The ground truth comes from the labels that Ultralytics read, or from the COCO JSON that the data YAML names under
``annotations:``, which also has crowd regions and the areas of segments. Ultralytics' own metrics use the labels.
"""

from __future__ import annotations

import copy
import os
import pickle
import shutil
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from ultralytics.data.utils import check_det_dataset, img2label_paths
from ultralytics.models import YOLO
from ultralytics.models.yolo.detect import DetectionValidator
from ultralytics.nn import tasks
from ultralytics.nn.tasks import DetectionModel, RTDETRDetectionModel

from ...data.coco_annotations import Picture, annotation_files, read_truth
from ...errors import CheckpointError, DataError, UserError, user_error_in
from ...metrics.coco_format import Dataset, Prediction, boxes_to_coco
from .annotation_checks import names_of
from .data_fingerprint import all_exist, images_of
from .yaml_files import listed
from .yolo_command import check_model

# The training arguments that a validation uses; for all others it has the defaults of `yolo val`.
VALIDATION_ARGUMENTS = (
    "imgsz", "batch", "device", "workers", "single_cls", "classes", "iou", "max_det", "conf", "agnostic_nms",
    "half", "quantize", "nms", "cache", "augment", "channels_last",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The result of a validation on one split.

    Attributes:
        split: Name of the split.
        reason: Why this split was chosen.
        ultralytics: ``mAP50``, ``mAP50-95``, ``precision`` and ``recall`` as ``yolo val`` prints them, 0 to 1.
        images: ``(id, file name, height, width)`` of each image, pixels; the name is relative to the images' folder.
            The ids are those of the COCO JSON if there is one, else 1 to n.
        boxes: ``(image id, class index, [x, y, w, h])`` of each label, pixels of the original image.
        predictions: COCO detections; ``category_id`` is the class index.
        names: Class names by index.
        truth: The ground truth in COCO's format.
        image_folder: The folder that the images' file names are relative to, absolute.
        annotation_file: The COCO JSON that the data YAML names; None if the boxes are from label files.
    """

    split: str
    reason: str
    ultralytics: dict[str, float]
    images: list[tuple[int, str, int, int]]
    boxes: list[tuple[int, int, list[float]]]
    predictions: list[Prediction]
    names: list[str]
    truth: Dataset
    image_folder: str
    annotation_file: str | None


def check_data(data: str) -> dict[str, Any]:
    """Return the data YAML as Ultralytics reads it, with absolute paths. Ultralytics may download the images.

    Raises:
        DataError: If it does not exist or cannot be used.
    """
    try:
        return check_det_dataset(data)
    except Exception as error:
        reported = user_error_in(error)
        if reported is None or reported is error:
            raise
        raise DataError(f"data {data}: {' '.join(str(reported).split())}") from None


def open_model(model: str) -> YOLO:
    """Return ``YOLO(model)``; raise a UserError if it does not exist, cannot be built, or is for another task."""
    check_model(model)
    if "rtdetr" in Path(model).stem.lower():
        raise UserError(f"model {model!r} is RT-DETR; only YOLO models are compared")
    opened = YOLO(model)
    if opened.task != "detect":
        raise UserError(f"model {model!r} is for the task {opened.task}; only detection models are compared")
    return opened


def open_checkpoint(checkpoint: Path) -> torch.nn.Module:
    """Return a checkpoint's model, not fused, in float32 and eval mode, on the CPU. Its ``.yaml`` holds its layers."""
    model: Any = YOLO(checkpoint).model
    return model.float().eval().cpu()


def build(model_yaml: Mapping[str, Any]) -> torch.nn.Module:
    """Build a detection model from a record's ``model_yaml``, with new weights, in eval mode."""
    content = copy.deepcopy(dict(model_yaml))
    kind: Any = RTDETRDetectionModel if "RTDETRDecoder" in str(content["head"][-1][2]) else DetectionModel
    model: torch.nn.Module = kind(content, verbose=False)
    return model.float().eval()


@dataclass(frozen=True, slots=True)
class Stopped:
    """Where a training stopped.

    Attributes:
        epoch: Number of epochs done.
        epochs: Number of epochs in total.
        finished: Whether none is left.
        folder: Folder of the training.
        fitness: Fitness of the best epoch so far; None if the checkpoint does not have it.
    """

    epoch: int
    epochs: int
    finished: bool
    folder: str
    fitness: float | None = None


def read_stop(last: Path) -> Stopped | None:
    """Return where the training that wrote ``last.pt`` stopped; None without a readable checkpoint.

    Ultralytics itself restarts a finished training, or trains it one epoch too long, if told to resume it.
    """
    if not last.is_file():
        return None
    try:
        checkpoint, _ = tasks.torch_safe_load(str(last))  # restricted by ULTRALYTICS_SAFE_LOAD=1, like all loading
        epoch, arguments = int(checkpoint["epoch"]), checkpoint["train_args"]
    except UserError:
        raise
    except Exception as error:  # killed while writing it: any error of zip, pickle or torch
        if isinstance(error.__cause__, pickle.UnpicklingError) and zipfile.is_zipfile(last):  # a whole file
            raise CheckpointError(f"{last} holds classes that ULTRALYTICS_SAFE_LOAD=1 does not allow") from None
        return None
    epochs = int(arguments.get("epochs") or 0)
    finished = epoch < 0 or epoch + 1 >= epochs or checkpoint.get("optimizer") is None  # stripped at the end: -1
    fitness = checkpoint.get("best_fitness")
    return Stopped(
        epochs if epoch < 0 else epoch + 1,
        epochs,
        finished,
        str(arguments.get("save_dir") or ""),
        None if fitness is None else float(fitness),
    )


class _Validator(DetectionValidator):
    """Ultralytics' validator that also keeps each prediction with its image file."""

    def init_metrics(self, model: Any) -> None:
        super().init_metrics(model)
        this: Any = self  # upstream declares these as None
        this.args.save_json = True  # so that pred_to_json is called
        this.kept = []
        this.shapes = {}
        # Class indices instead of COCO's and LVIS's ids, and no search for their annotation files.
        this.class_map = list(range(len(model.names)))
        this.is_coco = this.is_lvis = False

    def update_metrics(self, preds: Any, batch: dict[str, Any]) -> None:
        """Keep the images' shapes, which the data set drops if it sorts by aspect ratio."""
        this: Any = self
        this.shapes.update(zip(map(str, batch["im_file"]), batch["ori_shape"], strict=True))
        super().update_metrics(preds, batch)

    def pred_to_json(self, predn: Any, pbatch: Any) -> None:
        """Keep one image's predictions. ``pbatch`` is the file's name, in later versions a dict with it."""
        this: Any = self
        this.jdict = []
        super().pred_to_json(predn, pbatch)
        file = pbatch["im_file"] if isinstance(pbatch, dict) else pbatch
        this.kept += [{**entry, "image_id": str(file)} for entry in this.jdict]
        this.jdict = []  # so that Ultralytics writes no predictions.json

    def eval_json(self, stats: dict[str, Any]) -> dict[str, Any]:
        return stats


def evaluate(checkpoint: Path, data: str, arguments: Mapping[str, Any], split: str, scratch: Path) -> Evaluation:
    """Validate ``checkpoint`` as ``yolo val`` does.

    Args:
        checkpoint: ``best.pt`` of a training.
        data: Data YAML.
        arguments: The training's arguments; those of a validation are used.
        split: ``"val"``, ``"test"`` or ``"auto"``: ``test`` if the data has one with labels, else ``val``.
        scratch: A folder that Ultralytics may use; it is removed afterwards.

    Raises:
        DataError: If the data has no such split.
    """
    described = check_data(data)
    reason = "asked for"
    if split == "auto":
        split, reason = _chosen(described)
    elif not all_exist(described.get(split)):
        raise DataError(f"data {data} has no images for split={split}; use split=auto or another")
    metrics, validator = _validate(checkpoint, data, arguments, split, scratch)
    names = names_of(validator.names)
    pictures, labels, root = _labels(validator.dataloader.dataset.labels, validator.shapes)
    file = annotation_files(described).get(split)
    truth: Any = None
    ids = {path: number for number, (path, *_) in enumerate(pictures, start=1)}
    if file is not None:
        merged, classes = bool(arguments.get("single_cls")), arguments.get("classes")
        numbers = None if classes is None else [int(number) for number in listed(classes)]
        truth, ids = read_truth(file, pictures, names_of(described["names"]), merged=merged, classes=numbers)
    images = [(ids[path], name, height, width) for path, name, height, width in pictures]
    boxes = [(ids[path], category, box) for path, category, box in labels]
    box = metrics.box
    own = {"mAP50": box.map50, "mAP50-95": box.map, "precision": box.mp, "recall": box.mr}
    return Evaluation(
        split=split,
        reason=reason,
        ultralytics={key: float(value) for key, value in own.items()},
        images=images,
        boxes=boxes,
        predictions=[
            {"image_id": ids[p["image_id"]], "category_id": p["category_id"], "bbox": p["bbox"], "score": p["score"]}
            for p in validator.kept
        ],
        names=names,
        truth=boxes_to_coco(images, boxes, names) if file is None else truth,
        image_folder=str(root),
        annotation_file=described["annotations"][split] if file else None,
    )


def _chosen(described: dict[str, Any]) -> tuple[str, str]:
    """Return the split to validate on and the reason: ``test`` if it has labels (COCO's test-dev has none)."""
    if not all_exist(described.get("test")):
        return "val", "the data has no test split"
    labels = map(Path, img2label_paths(list(images_of(described["test"]))))
    if not any(label.is_file() and label.stat().st_size for label in labels):
        return "val", "the test split has no labels"
    return "test", "no epoch was chosen on it"


def _validate(checkpoint: Path, data: str, arguments: Mapping[str, Any], split: str, scratch: Path) -> tuple[Any, Any]:
    """Run ``yolo val``; return Ultralytics' metrics and the validator."""
    made: list[Any] = []

    def build(**kwargs: Any) -> Any:
        made.append(_Validator(**kwargs))
        return made[-1]

    options = {name: arguments[name] for name in VALIDATION_ARGUMENTS if name in arguments}
    batch = options.get("batch")
    if not isinstance(batch, int) or batch < 1:  # -1 and 0.7 fill the memory, in training only
        options.pop("batch", None)
    options |= {"project": str(scratch.parent.resolve()), "name": scratch.name, "exist_ok": True}
    try:
        model = YOLO(checkpoint)
        return model.val(validator=build, data=data, split=split, save_json=True, plots=False, **options), made[0]
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _labels(
    labels: list[dict[str, Any]], shapes: Mapping[str, tuple[int, int]]
) -> tuple[list[Picture], list[tuple[str, int, list[float]]], Path]:
    """Return the images, ``(path, class index, [x, y, w, h])`` of each label, and the folder of the images."""
    labels = sorted(labels, key=lambda label: str(label["im_file"]))  # the loader sorts by aspect ratio
    files = [str(label["im_file"]) for label in labels]
    root = Path(os.path.commonpath([str(Path(file).parent) for file in files]))
    pictures: list[Picture] = []
    boxes: list[tuple[str, int, list[float]]] = []
    for file, label in zip(files, labels, strict=True):
        height, width = (int(side) for side in shapes[file])
        pictures.append((file, Path(file).relative_to(root).as_posix(), height, width))
        for category, (x, y, w, h) in zip(label["cls"].reshape(-1), label["bboxes"], strict=True):  # centre, normalised
            box = [(x - w / 2) * width, (y - h / 2) * height, w * width, h * height]
            boxes.append((file, int(category), [round(float(side), 3) for side in box]))
    return pictures, boxes, root
