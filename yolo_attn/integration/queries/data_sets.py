"""Find data sets that are missing, and images and labels that cannot be used.

Ultralytics skips an image that does not decode or has invalid labels, with one warning among others. A comparison then
uses other data than its author believes. So a skipped image is an error for a model with our layers and in strict mode.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from ...data.yolo_labels import why_unusable
from ...errors import DataError
from ...messages import joined, nearest
from . import yaml_files
from .yaml_files import listed


class MissingDataError(DataError, FileNotFoundError):
    """A data set, or a folder that its YAML names, does not exist."""


def check_exists(dataset: str) -> None:
    """Raise a MissingDataError, with the nearest name, for a data YAML (or folder, or archive) that does not exist."""
    from ultralytics.utils import ROOT
    from ultralytics.utils.checks import check_file

    if "://" in dataset or Path(dataset).exists() or check_file(dataset, hard=False):
        return
    shipped = [yaml_files.folder("datasets"), Path(ROOT) / "cfg" / "datasets", Path()]
    known = [f.name for folder in shipped for f in folder.glob("*.yaml")]
    raise MissingDataError(
        f"data set {dataset!r} does not exist.{nearest(Path(dataset).name, known)} Give the path of a data YAML, or a "
        "bare name such as digits.yaml or coco8.yaml"
    )


def what_is_missing(dataset: str, error: FileNotFoundError) -> str:
    """Return the message for a data set of which something does not exist."""
    from ultralytics.utils.checks import check_file

    check_exists(dataset)
    found = Path(check_file(dataset, hard=False))
    for key, path in _paths(found) if found.is_file() else ():
        if not path.exists():
            return f"data set {found}: '{key}' is {path}, which does not exist; {_nearest_folder(path)}"
    return f"data set {found}: {' '.join(str(error).split())}"


def _nearest_folder(path: Path) -> str:
    """Return what the nearest existing folder above ``path`` holds."""
    upper = next(p for p in path.parents if p.exists())
    inside = joined(sorted(p.name for p in upper.iterdir()), most=8) or "nothing"
    return f"{upper} holds {inside}"


def _paths(file: Path) -> Iterator[tuple[str, Path]]:
    """Yield the split names and image paths of a data YAML, resolved as Ultralytics does."""
    from ultralytics.utils import DATASETS_DIR

    content = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    root = Path(content.get("path") or file.parent)
    if not root.exists() and not root.is_absolute():
        root = (Path(DATASETS_DIR) / root).resolve()
    for key in ("val", "train"):
        yield from ((key, (root / str(one)).resolve()) for one in listed(content.get(key)) if one)


def missing_images(img_path: Any, data: dict[str, Any]) -> str:
    """Return the message for image paths that do not exist; empty if all do."""
    name = data.get("yaml_file", "data set")
    for path in listed(img_path):
        if not Path(path).exists():
            return f"{name}: {path} does not exist; {_nearest_folder(Path(path))}"
    return ""


def vet(dataset: Any, data: dict[str, Any]) -> None:
    """Check that Ultralytics skipped no image of a data set when it scanned images and labels.

    Args:
        dataset: Ultralytics' data set.
        data: The data YAML's content, as ``check_det_dataset`` returns it.

    Raises:
        DataError: If it did; names the first three with the reason, and says how many there are.
    """
    labels = getattr(dataset, "label_files", None)  # of every image that was listed
    if labels is None or len(labels) == len(dataset.im_files):
        return
    files, kept = dataset.get_img_files(dataset.img_path), set(dataset.im_files)
    left_out = [Path(f) for f in files if f not in kept]
    if left_out:
        reasons = "; ".join(why_unusable(f, len(data["names"])) for f in left_out[:3])
        more = f" and {len(left_out) - 3} more" if len(left_out) > 3 else ""
        name = data.get("yaml_file") or dataset.img_path
        raise DataError(
            f"{name}: {len(left_out)} of {len(files)} images cannot be used: {reasons}{more}; fix or remove them"
        )
