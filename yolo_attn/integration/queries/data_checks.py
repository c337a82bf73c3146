"""Check the classes and splits of a data YAML, and that the images of each split have labels that can be used."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ultralytics.data.utils import IMG_FORMATS, img2label_paths
from ultralytics.utils import LOGGER

from ...data.coco_values import as_id
from ...errors import DataError
from ...log_level import at_log_level
from ...messages import counted, joined, nearest
from . import data_sets
from .data_fingerprint import SPLITS, images_of
from .yaml_files import listed


def check_content(content: Mapping[str, Any], file: Path) -> None:
    """Check the class names and splits of a data YAML. Warn of a class name that occurs twice and of a misspelt split.

    Raises:
        DataError: If a split is empty, or the names are not those of the classes 0 to n-1.
    """
    for key in ("train", "val"):
        if key in content and not content[key]:
            raise DataError(f"{file}: '{key}:' is empty; write the folder of its images")
    if isinstance(names := content.get("names"), list | dict):  # of other kinds, and without names, Ultralytics says so
        _check_names(names, file)
    for key in content:
        if key not in SPLITS and (meant := nearest(str(key), SPLITS)):
            LOGGER.warning(f"{file}: the key {key!r} is not used.{meant}")


def _check_names(names: list[Any] | dict[Any, Any], file: Path) -> None:
    numbers = list(range(len(names))) if isinstance(names, list) else [as_id(key) for key in names]
    if not all(isinstance(number, int) for number in numbers):
        raise DataError(
            f"{file}: names: has the keys {joined(map(repr, names), most=5)}; the keys are the numbers of the classes: "
            "0: cat"
        )
    if not names or sorted(numbers) != list(range(len(numbers))):
        absent = sorted({*range(max(numbers, default=0) + 1)} - {*numbers})
        raise DataError(
            f"{file}: names: has no class {joined(absent, most=5)}; number the classes from 0 without gaps, as the "
            "labels do. A class without labels keeps its name"
        )
    texts = names if isinstance(names, list) else list(names.values())
    if bad := [number for number, text in zip(numbers, texts, strict=True) if text is None or not str(text).strip()]:
        raise DataError(f"{file}: names: class {joined(bad, most=5)} has no name")
    if twice := [text for text, count in Counter(map(str, texts)).items() if count > 1]:
        LOGGER.warning(f"{file}: names: has {joined(map(repr, twice), most=5)} twice; the classes stay separate")


def why_unlabelled(paths: Any, data: Mapping[str, Any]) -> str:
    """Return the message for image paths without an image, or without a single label file; empty if there is one."""
    name, places = data.get("yaml_file", "data set"), joined(listed(paths))
    images = sorted(images_of(paths))
    if not images:
        return f"{name}: no images in {places}; Ultralytics reads {' '.join(sorted(IMG_FORMATS))}"
    labels = [Path(label) for label in img2label_paths([*images])]
    if any(label.is_file() for label in labels):
        return ""
    beside = Path(images[0]).with_suffix(".txt")
    found = f"move {beside} there" if beside.is_file() else data_sets.nearest_folder(labels[0])
    return (
        f"{name}: none of the {counted(len(images), 'image')} in {places} has a label file. {labels[0]} does not "
        f"exist; {found}. The path of a label is that of its image, with labels for the last folder images, and .txt"
    )


def why_none_usable(paths: Any, data: Mapping[str, Any], error: Exception) -> str:
    """Return the message for images of which Ultralytics can use none; empty if ``error`` does not say that."""
    images = [Path(image) for image in sorted(images_of(paths))]
    return data_sets.unusable(images, len(images), data) if "No valid images" in str(error) else ""


def check_labels(data: Mapping[str, Any]) -> None:
    """Read the labels of all splits, as a training will do; it finds them in Ultralytics' cache.

    Raises:
        DataError: If images or labels cannot be used, or train or val has none. A test split may have no labels.
    """
    from ultralytics.data.dataset import YOLODataset

    for split in SPLITS:
        paths = data.get(split)
        if not paths or (split == "test" and not any(Path(path).exists() for path in listed(paths))):
            continue  # downloaded without a test split, as COCO's
        if problem := data_sets.missing_images(paths, dict(data)) or why_unlabelled(paths, data):
            if split == "test" and any(True for _ in images_of(paths)):
                continue
            raise DataError(problem)
        repeated = _repeated(paths)
        if repeated and split != "train":
            raise DataError(f"{data.get('yaml_file')}: {split} lists images twice: {joined(repeated, most=3)}")
        LOGGER.info(f"Reading the labels of {counted(len(set(images_of(paths))), 'image')} of {split}")
        try:
            with at_log_level(LOGGER, logging.WARNING):  # without the progress bar and remarks
                dataset = YOLODataset(img_path=paths, data=dict(data), augment=False, prefix=f"{split}: ")
        except RuntimeError as error:
            if message := why_none_usable(paths, data, error):
                raise DataError(message) from error
            raise
        data_sets.vet(dataset, dict(data))


def warnings_of(data: Mapping[str, Any]) -> list[str]:
    """Return a sentence each about images that are listed twice, share a label file, and labels without an image.

    Label files without an image are looked for where a split is a folder, not a list.
    """
    found = []
    for split in (split for split in SPLITS if data.get(split)):
        images = list(dict.fromkeys(sorted(images_of(data[split]))))
        labels = Counter(img2label_paths([*images]))
        if repeated := _repeated(data[split]):
            count = counted(len(repeated), "image")
            found.append(f"{split} lists {count} more than once, so they count more: {joined(repeated, most=3)}.")
        if shared := [Path(label).name for label, count in labels.items() if count > 1]:
            count = counted(len(shared), "label file")
            found.append(
                f"{split}: images with the same name but another suffix share {count}: {joined(shared, most=3)}."
            )
        if all(Path(path).is_dir() for path in listed(data[split])):
            folders = {Path(label).parent for label in labels}
            alone = [
                file.name
                for folder in sorted(folders)
                for file in sorted(folder.glob("*.txt"))
                if str(file) not in labels and file.name != "classes.txt"  # of labelling tools
            ]
            if alone:
                count = counted(len(alone), "label file")
                verb = "has" if len(alone) == 1 else "have"
                found.append(f"{count} of {split} {verb} no image that Ultralytics reads: {joined(alone, most=3)}.")
    return found


def _repeated(paths: Any) -> list[str]:
    return [Path(image).name for image, count in Counter(images_of(paths)).items() if count > 1]
