"""Identify a data set by a digest of its images and labels that is the same on every machine with these files."""

from __future__ import annotations

import glob
import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ultralytics.data.utils import IMG_FORMATS, img2label_paths

from ...errors import DataError
from ...messages import is_text, printable
from ...text_files import read_text
from .yaml_files import listed

SPLITS = ("train", "val", "test")
EDGE = 8192  # bytes to read at each end of an image


def fingerprint(data: dict[str, Any]) -> dict[str, Any]:
    """Return what identifies a data set.

    The digest covers labels and COCO JSON entirely, and of each image its name, its size and 8 KiB at each end. These
    change if an image is edited, and COCO's 118,000 images take seconds, not the time to read 19 GB.

    Args:
        data: A data YAML's content with absolute paths, as ``check_det_dataset`` returns it.

    Returns:
        ``digest``, ``class_names``, and for each of ``splits`` its ``digest`` and the numbers of ``images`` and
        ``labels``.
    """
    splits = {split: _split(data[split]) for split in SPLITS if data.get(split)}
    names = {str(key): str(name) for key, name in dict(data.get("names") or {}).items()}
    whole = hashlib.sha256(repr(sorted(names.items())).encode())
    for split, found in splits.items():
        whole.update(f"{split}:{found['digest']}\n".encode())
    for path in _annotations(data):
        whole.update(Path(path).read_bytes() if Path(path).is_file() else b"absent")
    return {"digest": whole.hexdigest()[:16], "class_names": names, "splits": splits}


def _common_folder(images: Sequence[str | Path]) -> str:
    """Return the folder that all images are in; empty if there is none, as on two drives of Windows."""
    try:
        return os.path.commonpath([str(Path(image).parent) for image in images])
    except ValueError:
        return ""


def _split(paths: Any) -> dict[str, Any]:
    images: list[str | Path] = [*sorted(images_of(paths))]
    root = _common_folder(images)
    whole, labels = hashlib.sha256(), 0
    for image, label in zip(images, img2label_paths(images), strict=True):
        name = Path(image).relative_to(root) if root else Path(image)
        whole.update(f"{name.as_posix()}\n".encode())
        take_edges(whole, image)
        content = Path(label).read_bytes() if Path(label).is_file() else None
        whole.update(b"no label\n" if content is None else f"{len(content)}\n".encode() + content)
        labels += content is not None
    return {"digest": whole.hexdigest()[:16], "images": len(images), "labels": labels}


def images_of(paths: Any) -> Iterator[str]:
    """Yield the image files of folders and of text files that list them, as Ultralytics finds both.

    Raises:
        DataError: If a list names a file that does not exist, or the name of an image is not UTF-8, which no JSON file
            of an experiment can hold.
    """
    for path in map(Path, listed(paths)):
        if path.is_file():
            found = _listed_in(path)
        else:  # Path.rglob would find hidden files and miss linked folders
            found = glob.glob(str(Path(glob.escape(str(path)), "**", "*.*")), recursive=True)  # noqa: PTH207
        for image in found:
            if is_image(image) and Path(image).is_file():
                if not is_text(image):
                    raise DataError(f"{printable(image)}: the file's name is not UTF-8; rename the file")
                yield image


def is_image(file: str | Path) -> bool:
    """Return whether Ultralytics reads files with this suffix as images."""
    return Path(file).suffix[1:].lower() in IMG_FORMATS


def _listed_in(path: Path) -> list[str]:
    """Return the image files that a text file lists."""
    if is_image(path):
        raise DataError(f"{path} is an image; name its folder, or a text file that lists images")
    files = []
    for number, line in enumerate(map(str.strip, read_text(path).split("\n")), 1):
        file = path.parent / line.removeprefix("./") if line.startswith("./") else Path(line)
        if line and is_image(file):
            if not file.is_file():
                raise DataError(
                    f"{path} line {number}: {line} does not exist; write absolute paths, or ./ and a path relative to "
                    f"{path.parent}"
                )
            files.append(str(file))
    return files


def all_exist(paths: Any) -> bool:
    """Return whether a split names paths and all of them exist."""
    return all(path and Path(path).exists() for path in listed(paths))


def take_edges(whole: Any, image: str | Path) -> None:
    """Add the size of an image file and 8 KiB at each end to a digest."""
    with Path(image).open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        whole.update(f"{size}\n".encode() + file.read(EDGE))
        if size > 2 * EDGE:
            file.seek(-EDGE, os.SEEK_END)
        whole.update(file.read(EDGE))


def _annotations(data: dict[str, Any]) -> list[Path]:
    given = data.get("annotations")
    root = Path(data.get("path") or ".")
    return [root / str(path) for _, path in sorted(given.items())] if isinstance(given, dict) else []
