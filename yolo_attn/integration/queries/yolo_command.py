"""Call Ultralytics' own command line in this process, and check its arguments."""

from __future__ import annotations

import contextvars
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...errors import ArgumentError, CheckpointError, DataError, MissingModelError, UserError
from ...messages import joined, nearest
from ..strict_mode import strict
from . import training_arguments, yaml_files


def value(text: str) -> Any:
    """Convert an argument's value as ``yolo`` does: numbers, lists, True, None, else text."""
    from ultralytics.cfg import smart_value

    return smart_value(text)


def check_arguments(arguments: Mapping[str, Any], mode: str = "train") -> None:
    """Check the names and values of the arguments of ``yolo MODE`` before anything is read or written.

    Raises:
        ArgumentError: If Ultralytics would refuse one, or accept it and fail later.
    """
    from ultralytics.cfg import get_cfg
    from ultralytics.utils import DEFAULT_CFG_DICT

    for name in arguments:
        owner = next((m for m, added in training_arguments.ADDED_TO.items() if name in added), mode)
        if owner != mode:
            raise ArgumentError(f"{name!r} is an argument of yolo {owner}, not of yolo {mode}")
    known = {**training_arguments.ADDED_TO.get(mode, {}), **DEFAULT_CFG_DICT}
    try:
        with strict():
            get_cfg(overrides={**arguments, "mode": mode})
    except (SyntaxError, TypeError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        for name in arguments:
            if name not in known:
                raise ArgumentError(f"{name!r} is not an argument of yolo {mode}.{nearest(name, known)}") from None
        raise ArgumentError(" ".join(str(error).split())) from None
    if project := arguments.get("project"):
        check_folder("project", str(project))


def default_arguments() -> Any:
    """Return Ultralytics' arguments with their defaults, as a trained model has them in ``.args``."""
    from ultralytics.cfg import get_cfg

    return get_cfg()


def check_device(device: Any) -> None:
    """Raise an ArgumentError for a ``device`` that this machine lacks; may set the visible GPUs of this process."""
    from ultralytics.utils.torch_utils import select_device

    try:
        select_device("" if device is None else device, verbose=False)
    except ValueError as error:
        raise ArgumentError(" ".join(str(error).split("\n\n")[0].split())) from None


def check_imgsz(imgsz: int, stride: int, model: str) -> None:
    """Raise an ArgumentError if ``imgsz`` is no multiple of ``stride``, the largest stride of ``model``."""
    if imgsz < stride or imgsz % stride:
        near = max(round(imgsz / stride), 1) * stride
        raise ArgumentError(f"imgsz={imgsz} must be a multiple of {stride}, the largest stride of {model}; e.g. {near}")


def check_folder(name: str, folder: str) -> None:
    """Raise an ArgumentError if a folder cannot be made because it, or one above it, is a file."""
    for path in (Path(folder), *Path(folder).parents):
        if path.exists():
            if not path.is_dir():
                raise ArgumentError(f"{name}={folder}: {path} is no folder")
            return


def check_model(name: str) -> None:
    """Raise a MissingModelError or a CheckpointError for a model that Ultralytics cannot find."""
    from ultralytics.cfg import __file__ as cfg
    from ultralytics.utils.checks import check_yaml
    from ultralytics.utils.downloads import GITHUB_ASSETS_NAMES

    path = Path(name)
    if "://" in name or path.exists():
        return
    if path.suffix in (".yaml", ".yml"):
        if not check_yaml(name, hard=False) and not check_yaml(yaml_files.without_scale(name), hard=False):
            folders = Path(cfg).parent / "models", yaml_files.folder("model_yamls")
            choices = [f.name for folder in folders for f in folder.rglob("*.yaml")]
            with_scale = [re.sub(r"^(yolov?\d+)(?=[-.])", r"\1n", choice) for choice in choices]
            hint = nearest(path.name, [*choices, *with_scale])
            raise MissingModelError(
                f"model {name!r} does not exist.{hint} Give the path of a model YAML, or a bare name such as "
                "yolo11n-ema.yaml (yolo<version><scale>-<what>.yaml)"
            )
    elif path.suffix == ".pt" and path.name not in GITHUB_ASSETS_NAMES:
        raise CheckpointError(f"checkpoint {name!r} does not exist; give the path of a .pt file")
    elif path.suffix != ".pt" and f"{name}.pt" not in GITHUB_ASSETS_NAMES:
        raise MissingModelError(f"model {name!r} does not exist; give the path of a model YAML or of a .pt file")


def open_model(name: str, task: str | None = None, *, verbose: bool = False) -> Any:
    """Return ``YOLO(name)``, or ``RTDETR(name)`` by the rule of ``yolo``; checked as by :func:`check_model`.

    ``verbose`` prints the layer table of a YOLO model's YAML.
    """
    from ultralytics.cfg import TASKS
    from ultralytics.models import RTDETR, YOLO

    if task is not None and task not in TASKS:
        raise ArgumentError(f"task={task} must be one of {joined(sorted(TASKS))}.{nearest(task, TASKS)}")
    check_model(name)
    if "rtdetr" in Path(name).stem.lower() and task in (None, "detect"):
        return RTDETR(name)
    return YOLO(name, task=task, verbose=verbose)


def check_source(name: str) -> None:
    """Raise a DataError if the images to predict on do not exist."""
    if "://" in name or name.isnumeric() or name.startswith("screen") or any(c in name for c in "*?["):
        return
    if not Path(name).exists():
        raise DataError(f"source {name!r} does not exist; give the path of an image, a video or a folder")


def call(arguments: list[str]) -> None:
    """Run ``yolo`` with these arguments in this process."""
    before = sys.argv[:]
    sys.argv[:] = ["yolo", *arguments]  # in place: Ultralytics keeps a reference to this list
    try:
        from ultralytics.cfg import entrypoint

        contextvars.copy_context().run(entrypoint)  # what it sets (partial=True) ends with it
    finally:
        sys.argv[:] = before
