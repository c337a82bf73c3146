"""Find data sets that are missing, and images and labels that cannot be used.

Ultralytics skips an image that does not decode or has invalid labels, with one warning among others. A comparison then
uses other data than its author believes. So a skipped image is an error for a model with our layers and in strict mode.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...data.yolo_labels import label_file, outside, why_unusable, without_area
from ...errors import DataError
from ...messages import joined, nearest
from ...text_files import read_yaml
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
    content = read_yaml(found) if found.is_file() else None
    for key, path in paths_in(content, found) if isinstance(content, dict) else ():
        if not path.exists():
            return f"data set {found}: '{key}' is {path}, which does not exist; {nearest_folder(path)}"
    return f"data set {found}: {' '.join(str(error).split())}"


def nearest_folder(path: Path) -> str:
    """Return what the nearest existing folder above ``path`` holds."""
    upper = next((p for p in path.parents if p.exists()), None)
    if upper is None:
        return f"there is no {path.anchor}"  # a drive of Windows
    inside = joined(sorted(p.name for p in upper.iterdir()), most=8) or "nothing"
    return f"{upper} holds {inside}"


def root_of(content: Mapping[str, Any], file: Path) -> Path:
    """Return the folder that the paths of a data YAML are relative to, as Ultralytics finds it."""
    from ultralytics.utils import DATASETS_DIR

    root = Path(str(content.get("path") or file.parent))
    return root if root.exists() or root.is_absolute() else (Path(DATASETS_DIR) / root).resolve()


def paths_in(content: Mapping[str, Any], file: Path) -> Iterator[tuple[str, Path]]:
    """Yield the split names and image paths of a data YAML, resolved as Ultralytics does."""
    root = root_of(content, file)
    for key in ("val", "train"):
        yield from ((key, (root / str(one)).resolve()) for one in listed(content.get(key)) if one)


def missing_images(img_path: Any, data: dict[str, Any]) -> str:
    """Return the message for image paths that do not exist; empty if all do."""
    name = data.get("yaml_file", "data set")
    for path in listed(img_path):
        if not Path(path).exists():
            return f"{name}: {path} does not exist; {nearest_folder(Path(path))}"
    return ""


def vet(dataset: Any, data: dict[str, Any]) -> None:
    """Check that a data set's images and labels can be used, after Ultralytics scanned them; warn of empty boxes.

    Args:
        dataset: Ultralytics' data set.
        data: The data YAML's content, as ``check_det_dataset`` returns it.

    Raises:
        DataError: If Ultralytics skipped images, or boxes lie outside their images; names the first three with the
            reason, and says how many there are.
    """
    from ultralytics.utils import LOGGER

    labels = getattr(dataset, "label_files", None)  # of every image that was listed
    if labels is None:
        return
    wrong = [Path(label["im_file"]) for label in dataset.labels if outside(label["bboxes"]).any() or _is_mixed(label)]
    total = len(dataset.im_files)
    if len(labels) != total:
        files, kept = dataset.get_img_files(dataset.img_path), set(dataset.im_files)
        wrong, total = [*(Path(f) for f in files if f not in kept), *wrong], len(files)
    if wrong:
        raise DataError(unusable(wrong, total, data))
    empty = [Path(label["im_file"]) for label in dataset.labels if (label["bboxes"][:, 2:] <= 0).any()]
    if sentence := without_area(filter(Path.is_file, map(label_file, empty))):
        LOGGER.warning(f"{data.get('yaml_file') or dataset.img_path}: {sentence}")


def unusable(images: Sequence[Path], total: int, data: Mapping[str, Any]) -> str:
    """Return the message for images that Ultralytics cannot use: the first three with the reason, and how many."""
    reasons = "; ".join(why_unusable(image, len(data["names"])) for image in images[:3])
    more = f" and {len(images) - 3} more" if len(images) > 3 else ""
    name = data.get("yaml_file") or images[0].parent
    return f"{name}: {len(images)} of {total} images cannot be used: {reasons}{more}; fix or remove them"


def _is_mixed(label: Mapping[str, Any]) -> bool:
    """Return whether boxes stand among the polygons of an image: Ultralytics reads a box as a polygon of two points."""
    return any(len(segment) == 2 for segment in label.get("segments", ()))
