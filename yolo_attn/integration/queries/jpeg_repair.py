"""Append the end marker to JPEGs that do not end in it.

Ultralytics encodes such a file anew, in place, when it first reads it in a training: the data set changes during the
first run. With the marker it leaves the file alone, and decoders ignore what stands before it and after the image. The
pixels stay the same, and the new bytes are the same on every machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ultralytics.utils import LOGGER

from ... import atomic_files
from ...data.coco_reading import JPEG_END, lacks_end
from ...errors import DataError, UserError
from ...messages import counted, joined
from .data_fingerprint import SPLITS, images_of


def repair(data: Mapping[str, Any]) -> list[Path]:
    """Append the end marker to the JPEGs of all splits that do not end in it. Ultralytics' log names them.

    Args:
        data: A data YAML's content with absolute paths, as ``check_det_dataset`` returns it.

    Returns:
        The files that were changed. A link becomes a file; what it leads to stays.

    Raises:
        DataError: If one cannot be written.
    """
    files = {file for split in SPLITS if data.get(split) for file in images_of(data[split])}
    repaired = [file for file in map(Path, sorted(files)) if _repaired(file)]
    if repaired:
        LOGGER.warning(
            f"{counted(len(repaired), 'JPEG')} without an end marker at the end of the file, which is appended; "
            f"otherwise Ultralytics would rewrite the image in the first training: "
            f"{joined((file.name for file in repaired), most=3)}"
        )
    return repaired


def _repaired(file: Path) -> bool:
    if file.stat().st_size < 3 or not lacks_end(file) or not _decodes(file):
        return False  # a damaged file is named by the check of images and labels
    content = file.read_bytes()
    if content.endswith(JPEG_END):  # by another run, meanwhile
        return False
    try:
        atomic_files.write_bytes(file, content + JPEG_END)
    except UserError as error:
        raise DataError(
            f"{file} has no end marker, and Ultralytics would rewrite it during training, but it cannot be written "
            f"({error.__cause__ or error}); repair it, or copy the data set to a folder where it can"
        ) from None
    return True


def _decodes(file: Path) -> bool:
    from PIL import Image

    try:
        with Image.open(file) as picture:
            picture.load()
            return picture.format == "JPEG"  # of any suffix; MPO files are not rewritten
    except Exception:  # Pillow documents no narrower type for damaged files
        return False
