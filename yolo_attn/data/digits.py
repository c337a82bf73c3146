"""Generates the embedded data sets: scikit-learn's scanned handwritten digits, placed on cluttered backgrounds.

The parameters are those of the ``digits:`` mapping of a data YAML. The same parameters give the same files, byte for
byte, with the same versions of OpenCV and numpy.
"""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import DataError
from ..messages import nearest

SPLITS = ("train", "val", "test")
NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SHARES = (0.7, 0.15, 0.15)  # of each class's scans, for train, val and test
MANIFEST = "digits.json"  # written into the data set: the parameters, and which scans each split may use
JPEG_QUALITY = 92
LIMIT_SIZE = 4096  # pixels, side of a picture


@dataclass(frozen=True, kw_only=True)
class DigitsParameters:
    """What decides a digits data set: the keys of ``digits:`` in its data YAML.

    Attributes:
        seed: Of everything random, including which scans each split may use.
        size: Side of the square pictures, pixels.
        images: Pictures per split.
        objects: Fewest and most digits in a picture.
        object_size: Shortest and longest longer side of a digit's box, pixels; log-uniform between them.
        distractors: Fewest and most things in a picture that are no digits.
    """

    seed: int = 0
    size: int = 128
    images: Mapping[str, int] = field(default_factory=lambda: {"train": 800, "val": 200, "test": 200})
    objects: tuple[int, int] = (1, 4)
    object_size: tuple[int, int] = (16, 72)
    distractors: tuple[int, int] = (1, 4)

    @classmethod
    def from_mapping(cls, values: object) -> DigitsParameters:
        """Check the ``digits:`` mapping of a data YAML; keys left out keep their defaults.

        Raises:
            DataError: For an unknown key or an impossible value, naming the key and what works.
        """
        if not isinstance(values, Mapping):
            raise DataError(f"digits: must be a mapping such as 'digits: {{seed: 0, size: 128}}', got {values!r}")
        known = [f.name for f in fields(cls)]
        for key in values:
            if key not in known:
                raise DataError(f"digits: has no key {key!r}.{nearest(str(key), known)} Keys: {', '.join(known)}")
        given = dict(values)
        for key, lowest, highest in (("seed", 0, 2**32 - 1), ("size", 32, LIMIT_SIZE)):
            if key in given:
                _whole(f"digits: {key}", given[key], lowest, highest)
        for key, lowest, highest in (("objects", 0, 1), ("object_size", 8, 8), ("distractors", 0, 0)):
            if key in given:
                given[key] = _pair(f"digits: {key}", given[key], lowest, highest)
        if "images" in given:
            images = given["images"]
            if not isinstance(images, Mapping) or set(images) != set(SPLITS):
                raise DataError(f"digits: images={images!r} must give train, val and test, such as {cls().images}")
            given["images"] = {split: _whole(f"digits: images: {split}", images[split], 1, 999_999) for split in SPLITS}
        parameters = cls(**given)
        longest = parameters.object_size[1]
        if longest > parameters.size:
            raise DataError(
                f"digits: object_size={list(parameters.object_size)} does not fit pictures of size={parameters.size}; "
                f"the second may be at most {parameters.size}"
            )
        return parameters

    def as_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        values: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return values


def generate_from_yaml(data: Mapping[str, Any], *, progress: bool = True) -> Path:
    """Generate the data set that a data YAML describes; the ``download:`` script of ``digits.yaml`` calls this.

    Args:
        data: The YAML's content; ``path`` is the folder to make, as Ultralytics resolves it.
        progress: Show a progress bar.

    Returns:
        The folder.

    Raises:
        DataError: If ``path`` or ``digits`` is missing, a value is impossible, or the folder holds something else.
    """
    for key in ("path", "digits"):
        if not data.get(key):
            raise DataError(f"data YAML has no '{key}:'; datasets/digits.yaml shows one that works")
    names = data.get("names", NAMES)
    names = list(names.values()) if isinstance(names, Mapping) else list(names)
    if len(names) != 10:
        raise DataError(f"names: must name the ten digits 0 to 9 in order, got {len(names)} names")
    parameters = DigitsParameters.from_mapping(data["digits"])
    return generate(Path(data["path"]), parameters, names=[str(name) for name in names], progress=progress)


def generate(
    out: Path,
    parameters: DigitsParameters | None = None,
    *,
    names: Sequence[str] = NAMES,
    progress: bool = True,
) -> Path:
    """Generate a digits data set, or do nothing if ``out`` already holds the one asked for.

    Everything is built in a folder beside ``out`` and renamed at the end: ``out`` is absent or complete, whatever
    interrupts this, and of two processes that start together the later one takes over the earlier one's result.

    Args:
        out: The folder to make: ``images/``, ``labels/``, ``annotations/instances_<split>.json``, ``digits.json``.
        parameters: What to draw; the default is that of ``digits.yaml``.
        names: Class names for the COCO JSON.
        progress: Show a progress bar.

    Returns:
        ``out``.

    Raises:
        DataError: If ``out`` holds something else, or the digits do not fit the pictures.
    """
    parameters = parameters or DigitsParameters()
    if _already(out, parameters):
        return out
    out.parent.mkdir(parents=True, exist_ok=True)
    build = out.parent / f".{out.name}-{uuid.uuid4().hex[:12]}.part"
    build.mkdir()
    try:
        _write(build, parameters, names, progress)
        try:
            if out.is_dir():
                out.rmdir()  # empty: _already saw to that
            build.rename(out)
        except OSError:
            if not _already(out, parameters):  # else another process was faster
                raise
    finally:
        shutil.rmtree(build, ignore_errors=True)
    return out


def split_scans(labels: npt.NDArray[np.int64], seed: int) -> dict[str, npt.NDArray[np.int64]]:
    """Deal the scans of each class to the three splits, 70, 15 and 15 %; no scan goes to two."""
    rng = np.random.default_rng([seed, 0])
    parts: dict[str, list[npt.NDArray[np.int64]]] = {split: [] for split in SPLITS}
    for digit in range(10):
        mixed = rng.permutation(np.flatnonzero(labels == digit))
        ends = np.round(np.cumsum(SHARES) * len(mixed)).astype(int)
        for split, part in zip(SPLITS, np.split(mixed, ends[:-1]), strict=True):
            parts[split].append(part)
    return {split: np.sort(np.concatenate(part)) for split, part in parts.items()}


def _whole(what: str, value: object, lowest: int, highest: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not lowest <= value <= highest:
        raise DataError(f"{what}={value!r} must be a whole number from {lowest} to {highest}")
    return value


def _pair(what: str, value: object, lowest: int, highest: int) -> tuple[int, int]:
    """Two whole numbers in order, the first at least ``lowest`` and the second at least ``highest``."""
    numbers = list(value) if isinstance(value, (list, tuple)) else []
    whole = all(isinstance(n, int) and not isinstance(n, bool) for n in numbers)
    if len(numbers) != 2 or not whole or not lowest <= numbers[0] <= numbers[1] or numbers[1] < highest:
        works = [max(lowest, 1), max(lowest, 1) * 4]
        raise DataError(f"{what}={value!r} must be least and most, whole numbers from {lowest} up, such as {works}")
    return numbers[0], numbers[1]


def _already(out: Path, parameters: DigitsParameters) -> bool:
    """Whether ``out`` is the data set asked for; False if there is nothing yet.

    Raises:
        DataError: If something else is there.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    remedy = "delete it, or give the data YAML another path:"
    try:
        there = json.loads((out / MANIFEST).read_text(encoding="utf-8"))["parameters"]
    except (OSError, ValueError, KeyError, TypeError):
        raise DataError(f"{out} exists and is no digits data set (it has no {MANIFEST}); {remedy}") from None
    wanted = parameters.as_dict()
    if there != wanted:
        keys = ", ".join(key for key in wanted if there.get(key) != wanted[key])
        raise DataError(f"{out} was generated with other values of {keys}; {remedy}")
    for split, count in parameters.images.items():
        for kind, suffix in (("images", ".jpg"), ("labels", ".txt")):
            found = len(list((out / kind / split).glob(f"*{suffix}")))
            if found != count:
                raise DataError(f"{out}/{kind}/{split} holds {found} of {count} files; {remedy}")
    return True


def _write(build: Path, parameters: DigitsParameters, names: Sequence[str], progress: bool) -> None:
    import cv2
    from rich.console import Console
    from rich.progress import Progress
    from sklearn.datasets import load_digits  # type: ignore[import-untyped]

    digits = load_digits()
    scans = (digits.images / 16).astype(np.float32)
    labels = np.asarray(digits.target, dtype=np.int64)
    dealt = split_scans(labels, parameters.seed)
    first = 1  # image ids and file names count on over the splits: unique in the whole data set
    with Progress(console=Console(stderr=True), disable=not progress) as bar:
        title = f"Drawing handwritten digits ({parameters.size} px)"
        task = bar.add_task(title, total=sum(parameters.images.values()))
        for split in SPLITS:
            _write_split(build, split, parameters, names, scans, labels, dealt[split], first, lambda: bar.advance(task))
            first += parameters.images[split]
    versions = {"numpy": np.__version__, "opencv": str(cv2.__version__)}
    scans_of = {split: part.tolist() for split, part in dealt.items()}
    _dump(build / MANIFEST, {"parameters": parameters.as_dict(), "versions": versions, "scans": scans_of})


def _write_split(
    build: Path,
    split: str,
    parameters: DigitsParameters,
    names: Sequence[str],
    scans: npt.NDArray[np.float32],
    labels: npt.NDArray[np.int64],
    usable: npt.NDArray[np.int64],
    first: int,
    advance: Callable[[], None],
) -> None:
    """Draw one split; ``usable`` are its scans, ``first`` the id of its first picture."""
    import cv2

    from .digits_scene import draw_scene

    size = parameters.size
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for kind in ("images", "labels"):
        (build / kind / split).mkdir(parents=True)
    for index in range(parameters.images[split]):
        scene = draw_scene(
            np.random.default_rng([parameters.seed, 1 + SPLITS.index(split), index]),
            scans[usable],
            labels[usable],
            size=size,
            objects=parameters.objects,
            object_size=parameters.object_size,
            distractors=parameters.distractors,
        )
        if scene is None:
            raise DataError(
                f"digits: objects={list(parameters.objects)} of object_size={list(parameters.object_size)} do not fit "
                f"into size={size} without hiding each other; fewer, smaller or a larger size works"
            )
        number = first + index
        stem = f"{number:06d}"
        good, jpeg = cv2.imencode(".jpg", scene.image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        assert good, "OpenCV can write JPEG"
        (build / "images" / split / f"{stem}.jpg").write_bytes(jpeg.tobytes())
        images.append({"id": number, "file_name": f"{stem}.jpg", "width": size, "height": size})
        lines = []
        for (x, y, w, h), scan in zip(scene.boxes.tolist(), usable[scene.sources].tolist(), strict=True):
            label = int(labels[scan])
            middle = f"{(x + w / 2) / size:.9g} {(y + h / 2) / size:.9g}"
            lines.append(f"{label} {middle} {w / size:.9g} {h / size:.9g}\n")
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": label + 1,
                    "bbox": [x, y, w, h],
                    "area": w * h,
                    "iscrowd": 0,
                    "scan": scan,  # which of load_digits' 1797
                }
            )
        (build / "labels" / split / f"{stem}.txt").write_text("".join(lines), encoding="utf-8", newline="\n")
        advance()
    (build / "annotations").mkdir(exist_ok=True)
    _dump(
        build / "annotations" / f"instances_{split}.json",
        {
            "info": {"description": f"handwritten digits of scikit-learn's load_digits, {split}"},
            "images": images,
            "annotations": annotations,
            "categories": [{"id": index + 1, "name": name} for index, name in enumerate(names)],
        },
    )


def _dump(file: Path, content: Mapping[str, Any]) -> None:
    file.write_text(json.dumps(content) + "\n", encoding="utf-8", newline="\n")
