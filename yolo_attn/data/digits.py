"""Generate the embedded data sets: scans of handwritten digits on cluttered backgrounds.

The parameters come from the ``digits:`` mapping of a data YAML. With the same versions of OpenCV and NumPy, the same
parameters give the same bytes. ``handwritten_digits.txt`` says where the scans come from.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import atomic_files
from ..errors import DataError
from ..messages import joined, nearest
from . import SPLITS
from .yolo_labels import label_line

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SCANS = Path(__file__).with_name("handwritten_digits.npz")
SHARES = (0.7, 0.15, 0.15)  # of the scans of each digit, for train, val and test
MANIFEST = "digits.json"  # in the data set: the parameters, and the scans of each split
JPEG_QUALITY = 92
LARGEST = 4096  # pixels, side of an image


@dataclass(frozen=True, kw_only=True)
class DigitsParameters:
    """The parameters of a digits data set: the keys of ``digits:`` in its data YAML.

    Attributes:
        seed: The seed of everything random, including which scans each split uses.
        size: Side of the square images in pixels.
        images: Number of images per split.
        objects: Minimum and maximum number of digits per image.
        object_size: Minimum and maximum of the longer side of a digit's box in pixels; log-uniform between them.
        distractors: Minimum and maximum number of other shapes per image.
    """

    seed: int = 0
    size: int = 128
    images: Mapping[str, int] = field(default_factory=lambda: {"train": 800, "val": 200, "test": 200})
    objects: tuple[int, int] = (1, 4)
    object_size: tuple[int, int] = (16, 72)
    distractors: tuple[int, int] = (1, 4)

    def __post_init__(self) -> None:
        _check_whole("seed", self.seed, 0, 2**32 - 1)
        _check_whole("size", self.size, 32, LARGEST)
        for key, lowest, highest in (("objects", 0, 1), ("object_size", 8, 8), ("distractors", 0, 0)):
            object.__setattr__(self, key, _pair(key, getattr(self, key), lowest, highest))
        if not isinstance(self.images, Mapping) or set(self.images) != set(SPLITS):
            example = {"train": 800, "val": 200, "test": 200}
            raise DataError(f"digits: images={self.images!r} must have the keys train, val and test, e.g. {example}")
        for split in SPLITS:
            _check_whole(f"images: {split}", self.images[split], 1, 999_999)
        object.__setattr__(self, "images", {split: self.images[split] for split in SPLITS})
        if self.object_size[1] > self.size:
            raise DataError(
                f"digits: object_size={list(self.object_size)} does not fit size={self.size}; the maximum must be at "
                f"most {self.size}"
            )

    @classmethod
    def from_mapping(cls, values: object) -> DigitsParameters:
        """Return the parameters of the ``digits:`` mapping of a data YAML.

        Raises:
            DataError: For an unknown key or an invalid value.
        """
        if not isinstance(values, Mapping):
            raise DataError(f"digits: must be a mapping, got {values!r}; write e.g. 'digits: {{seed: 0, size: 128}}'")
        known = [f.name for f in fields(cls)]
        for key in values:
            if key not in known:
                raise DataError(f"digits: has no key {key!r}.{nearest(str(key), known)} Keys: {joined(known)}")
        return cls(**values)


def generate_from_yaml(data: Mapping[str, Any], *, progress: bool = True) -> Path:
    """Generate the data set of a data YAML. The ``download:`` script of ``digits.yaml`` calls this.

    Args:
        data: The YAML's content, with ``path`` resolved by Ultralytics.
        progress: Show a progress bar.

    Returns:
        The folder.

    Raises:
        DataError: If ``path`` or ``digits`` is missing, a value is invalid, or the folder has other contents.
    """
    for key in ("path", "digits"):
        if not data.get(key):
            raise DataError(f"the data YAML has no '{key}:'; see datasets/digits.yaml for an example")
    names = data.get("names", NAMES)
    names = list(names.values()) if isinstance(names, Mapping) else list(names)
    if len(names) != 10:
        raise DataError(f"names: must have 10 names, for the digits 0 to 9 in order; got {len(names)}")
    parameters = DigitsParameters.from_mapping(data["digits"])
    return generate(Path(data["path"]), parameters, names=[str(name) for name in names], progress=progress)


def generate(out: Path, parameters: DigitsParameters, *, names: Sequence[str] = NAMES, progress: bool = True) -> Path:
    """Generate a digits data set, or return at once if ``out`` already holds it.

    The data set is built in a hidden folder and renamed at the end, so ``out`` is absent or complete. If two processes
    generate it at once, the slower one uses the result of the faster one.

    Args:
        out: The folder: ``images/``, ``labels/``, ``annotations/instances_<split>.json``, ``digits.json``.
        parameters: The parameters.
        names: Class names for the COCO JSON.
        progress: Show a progress bar.

    Returns:
        ``out``.

    Raises:
        DataError: If ``out`` has other contents, or the digits do not fit into the images.
    """
    if _is_complete(out, parameters):
        return out
    with atomic_files.part_folder(out.parent, out.name) as build:
        _write(build, parameters, names, progress)
        try:
            if out.is_dir():
                out.rmdir()  # it is empty, or _is_complete would have raised
            build.rename(out)
        except OSError:
            if not _is_complete(out, parameters):  # otherwise another process was faster
                raise
    return out


def load_scans() -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Return the scans, ``(1797, 8, 8)`` from 0 (paper) to 1 (ink), and the digit that each shows."""
    with np.load(SCANS) as file:
        return (file["images"] / 16).astype(np.float32), file["labels"].astype(np.int64)


def split_scans(labels: npt.NDArray[np.int64], seed: int) -> dict[str, npt.NDArray[np.int64]]:
    """Distribute the scans of each digit over the three splits: 70, 15 and 15 %. No scan is in two splits."""
    rng = np.random.default_rng([seed, 0])
    parts: dict[str, list[npt.NDArray[np.int64]]] = {split: [] for split in SPLITS}
    for digit in range(10):
        mixed = rng.permutation(np.flatnonzero(labels == digit))
        ends = np.round(np.cumsum(SHARES) * len(mixed)).astype(int)
        for split, part in zip(SPLITS, np.split(mixed, ends[:-1]), strict=True):
            parts[split].append(part)
    return {split: np.sort(np.concatenate(part)) for split, part in parts.items()}


def _check_whole(key: str, value: object, lowest: int, highest: int) -> None:
    if type(value) is not int or not lowest <= value <= highest:
        raise DataError(f"digits: {key}={value!r} must be a whole number from {lowest} to {highest}")


def _pair(key: str, value: object, lowest: int, highest: int) -> tuple[int, int]:
    """Return a minimum and a maximum: whole numbers, the first from ``lowest``, the second from ``highest``."""
    numbers = list(value) if isinstance(value, list | tuple) else []
    whole = len(numbers) == 2 and all(type(n) is int for n in numbers)
    if not whole or not lowest <= numbers[0] <= numbers[1] or numbers[1] < highest:
        example = [max(lowest, 1), max(lowest, 1) * 4]
        raise DataError(
            f"digits: {key}={value!r} must be a minimum and a maximum, whole numbers from {lowest}, e.g. {example}"
        )
    return numbers[0], numbers[1]


def _is_complete(out: Path, parameters: DigitsParameters) -> bool:
    """Say whether ``out`` is this data set; False if it is empty or does not exist.

    Raises:
        DataError: If it has other contents.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    remedy = "delete it, or change path: in the data YAML"
    try:
        there = json.loads((out / MANIFEST).read_text(encoding="utf-8"))["parameters"]
    except (OSError, ValueError, KeyError, TypeError):
        raise DataError(f"{out} exists but is not a digits data set (no {MANIFEST}); {remedy}") from None
    wanted = json.loads(json.dumps(asdict(parameters)))  # pairs as lists
    if there != wanted:
        keys = joined(key for key in wanted if there.get(key) != wanted[key])
        raise DataError(f"{out} was generated with other values of {keys}; {remedy}")
    for split, count in parameters.images.items():
        for kind, suffix in (("images", ".jpg"), ("labels", ".txt")):
            found = len(list((out / kind / split).glob(f"*{suffix}")))
            if found != count:
                raise DataError(f"{out}/{kind}/{split} has {found} of {count} files; {remedy}")
    return True


def _write(build: Path, parameters: DigitsParameters, names: Sequence[str], progress: bool) -> None:
    """Draw the images of all splits and write them with their labels, COCO JSON and the manifest."""
    import cv2
    from rich.console import Console
    from rich.progress import Progress

    from .digits_image import draw_scene  # start-up time

    scans, labels = load_scans()
    usable = split_scans(labels, parameters.seed)
    size = parameters.size
    number = 0  # image ids and file names are unique in the whole data set
    with Progress(console=Console(stderr=True), disable=not progress) as bar:
        task = bar.add_task(f"Drawing handwritten digits ({size} px)", total=sum(parameters.images.values()))
        for stream, split in enumerate(SPLITS, 1):
            images: list[dict[str, Any]] = []
            annotations: list[dict[str, Any]] = []
            own_scans, own_labels = scans[usable[split]], labels[usable[split]]
            for kind in ("images", "labels"):
                (build / kind / split).mkdir(parents=True)
            for index in range(parameters.images[split]):
                rng = np.random.default_rng([parameters.seed, stream, index])
                scene = draw_scene(rng, own_scans, own_labels, parameters)
                number += 1
                good, jpeg = cv2.imencode(".jpg", scene.image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
                assert good, "OpenCV can write JPEG"
                (build / "images" / split / f"{number:06d}.jpg").write_bytes(jpeg.tobytes())
                images.append({"id": number, "file_name": f"{number:06d}.jpg", "width": size, "height": size})
                lines = []
                for bbox, source in zip(scene.boxes.tolist(), scene.sources, strict=True):
                    label = int(own_labels[source])
                    lines.append(label_line(label, bbox, size, size))
                    annotations.append(
                        {
                            "id": len(annotations) + 1,
                            "image_id": number,
                            "category_id": label + 1,
                            "bbox": bbox,
                            "area": bbox[2] * bbox[3],
                            "iscrowd": 0,
                            "scan": int(usable[split][source]),  # index in handwritten_digits.npz
                        }
                    )
                _write_text(build / "labels" / split / f"{number:06d}.txt", "".join(lines))
                bar.advance(task)
            content = {
                "info": {"description": f"handwritten digits of scikit-learn's load_digits, {split}"},
                "images": images,
                "annotations": annotations,
                "categories": [{"id": index + 1, "name": name} for index, name in enumerate(names)],
            }
            (build / "annotations").mkdir(exist_ok=True)
            _write_text(build / "annotations" / f"instances_{split}.json", json.dumps(content) + "\n")
    versions = {"numpy": np.__version__, "opencv": str(cv2.__version__)}
    scans_of = {split: part.tolist() for split, part in usable.items()}
    manifest = {"parameters": asdict(parameters), "versions": versions, "scans": scans_of}
    _write_text(build / MANIFEST, json.dumps(manifest) + "\n")


def _write_text(file: Path, text: str) -> None:
    file.write_text(text, encoding="utf-8", newline="\n")
