"""Identify a data set by a digest of its images and labels that is the same on every machine with these files."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ultralytics.data.utils import IMG_FORMATS, img2label_paths

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


def _split(paths: Any) -> dict[str, Any]:
    images: list[str | Path] = [*sorted(images_of(paths))]
    root = os.path.commonpath([str(Path(image).parent) for image in images]) if images else ""
    whole, labels = hashlib.sha256(), 0
    for image, label in zip(images, img2label_paths(images), strict=True):
        whole.update(f"{Path(image).relative_to(root).as_posix()}\n".encode())
        _take_edges(whole, image)
        content = Path(label).read_bytes() if Path(label).is_file() else None
        whole.update(b"no label\n" if content is None else f"{len(content)}\n".encode() + content)
        labels += content is not None
    return {"digest": whole.hexdigest()[:16], "images": len(images), "labels": labels}


def images_of(paths: Any) -> Iterator[str]:
    """Yield the image files of folders and of text files that list them, as Ultralytics reads both."""
    for path in map(Path, listed(paths)):
        found: Iterable[Path] = path.rglob("*")  # nothing for a file
        if path.is_file():
            lines = filter(None, map(str.strip, path.read_text(encoding="utf-8").split("\n")))
            found = [path.parent / line.removeprefix("./") if line.startswith("./") else Path(line) for line in lines]
        for image in found:
            if image.suffix[1:].lower() in IMG_FORMATS and image.is_file():
                yield str(image)


def _take_edges(whole: Any, image: str | Path) -> None:
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
