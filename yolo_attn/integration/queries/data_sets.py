"""Data sets that are missing, and images and labels that cannot be used.

Ultralytics leaves out an image that does not decode or whose labels are out of range, with a warning among others.
A comparison made that way is made on other data than its author believes, so with our layers in the model (and in
every command of ours) it is an error. Plain models keep Ultralytics' behaviour.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from ...data.digits import generate_from_yaml
from ...data.label_check import why_unusable
from ...errors import DataError
from ...messages import nearest
from . import layer_types, yaml_files

_strict = False


class MissingDataError(DataError, FileNotFoundError):
    """A data set, or a folder that its YAML names, does not exist."""


@contextmanager
def strict() -> Iterator[None]:
    """Within this context every model's data are vetted, not only those of models with our layers."""
    global _strict
    before, _strict = _strict, True
    try:
        yield
    finally:
        _strict = before


def explaining_what_is_missing(original: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap ``check_det_dataset``: one line that says which file or folder does not exist and what does."""

    @functools.wraps(original)
    def check_det_dataset(dataset: str | Path, *args: Any, **kwargs: Any) -> Any:
        try:
            data = original(dataset, *args, **kwargs)
        except FileNotFoundError as error:
            if isinstance(error, DataError):
                raise
            raise MissingDataError(_what_is_missing(str(dataset), error)) from error
        if "yolo_attn.data.digits" in str(data.get("download")):
            generate_from_yaml(data)  # Ultralytics makes what is missing, but does not see that the YAML has changed
        return data

    return check_det_dataset


def check_exists(dataset: str) -> None:
    """Check that a data YAML (folder, archive) can be found.

    Raises:
        MissingDataError: If not; names the nearest one that can.
    """
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


def _what_is_missing(dataset: str, error: FileNotFoundError) -> str:
    from ultralytics.utils.checks import check_file

    check_exists(dataset)
    found = check_file(dataset, hard=False)
    if not Path(found).is_file():
        return f"data set {found}: {' '.join(str(error).split())}"
    for key, path in _paths(Path(found)):
        if not path.exists():
            return f"data set {found}: '{key}' is {path}, which does not exist; {_nearest_folder(path)}"
    return f"data set {found}: {' '.join(str(error).split())}"


def _nearest_folder(path: Path) -> str:
    """Say what the nearest folder above ``path`` that exists holds."""
    upper = next(p for p in path.parents if p.exists())
    inside = ", ".join(sorted(p.name for p in upper.iterdir())[:8]) or "nothing"
    return f"{upper} holds {inside}"


def _paths(file: Path) -> Iterator[tuple[str, Path]]:
    """Yield the split names and image paths of a data YAML, resolved as Ultralytics does."""
    from ultralytics.utils import DATASETS_DIR

    content = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    root = Path(content.get("path") or file.parent)
    if not root.exists() and not root.is_absolute():
        root = (Path(DATASETS_DIR) / root).resolve()
    for key in ("val", "train"):
        value = content.get(key)
        for one in value if isinstance(value, list) else [value]:
            if one:
                yield key, (root / str(one)).resolve()


def vetted_for_training(original: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap ``DetectionTrainer.build_dataset``: refuse images and labels that Ultralytics would leave out."""

    @functools.wraps(original)
    def build_dataset(self: Any, img_path: Any, *args: Any, **kwargs: Any) -> Any:
        ours = _strict or layer_types.has_ours(self.model)
        try:
            dataset = original(self, img_path, *args, **kwargs)
        except (FileNotFoundError, RuntimeError) as error:
            if ours and (words := _why_no_images(img_path, self.data)):
                raise MissingDataError(words) from error
            raise
        if ours:
            vet(dataset, self.data)
        return dataset

    return build_dataset


def vetted_for_validation(original: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap ``DetectionValidator.init_metrics``, the first place that has both the model and the data."""

    @functools.wraps(original)
    def init_metrics(self: Any, model: Any, *args: Any, **kwargs: Any) -> Any:
        if not self.training and (_strict or layer_types.has_ours(getattr(model, "model", model))):
            vet(self.dataloader.dataset, self.data)
        return original(self, model, *args, **kwargs)

    return init_metrics


def _why_no_images(img_path: Any, data: dict[str, Any]) -> str:
    name = data.get("yaml_file", "data set")
    for path in img_path if isinstance(img_path, list) else [img_path]:
        if not Path(path).exists():
            return f"{name}: {path} does not exist; {_nearest_folder(Path(path))}"
    return ""


def vet(dataset: Any, data: dict[str, Any]) -> None:
    """Check that no image of a data set was left out by Ultralytics.

    Args:
        dataset: Ultralytics' data set, after it has scanned images and labels.
        data: The data YAML's content, as ``check_det_dataset`` returns it.

    Raises:
        DataError: If one was; names the first three with the reason, and how many there are.
    """
    labels = getattr(dataset, "label_files", None)  # of every image that was listed
    if labels is None or len(labels) == len(dataset.im_files):
        return
    listed = dataset.get_img_files(dataset.img_path)
    kept = set(dataset.im_files)
    left_out = [Path(f) for f in listed if f not in kept]
    if not left_out:
        return
    reasons = "; ".join(why_unusable(f, len(data["names"])) for f in left_out[:3])
    more = f" and {len(left_out) - 3} more" if len(left_out) > 3 else ""
    name = data.get("yaml_file") or dataset.img_path
    raise DataError(
        f"{name}: {len(left_out)} of {len(listed)} images cannot be used: {reasons}{more}; mend or remove them"
    )
