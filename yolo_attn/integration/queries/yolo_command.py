"""Call Ultralytics' own command line in this process, and check its arguments."""

from __future__ import annotations

import contextvars
import re
import sys
from pathlib import Path
from typing import Any

from ...errors import CheckpointError, DataError, LayerError
from ...messages import nearest
from . import yaml_files


def value(text: str) -> Any:
    """Convert an argument's value as ``yolo`` does: numbers, lists, True, None, else text."""
    from ultralytics.cfg import smart_value

    return smart_value(text)


def check_model(name: str) -> None:
    """Raise a LayerError for a model YAML, or a CheckpointError for a checkpoint, that Ultralytics cannot find."""
    from ultralytics.cfg import __file__ as cfg
    from ultralytics.utils.checks import check_yaml
    from ultralytics.utils.downloads import GITHUB_ASSETS_NAMES

    path = Path(name)
    if "://" in name or path.exists():
        return
    if path.suffix in (".yaml", ".yml"):
        if not check_yaml(name, hard=False) and not check_yaml(without_scale(name), hard=False):
            folders = Path(cfg).parent / "models", yaml_files.folder("model_yamls")
            choices = [f.name for folder in folders for f in folder.rglob("*.yaml")]
            with_scale = [re.sub(r"^(yolov?\d+)(?=[-.])", r"\1n", choice) for choice in choices]
            hint = nearest(path.name, [*choices, *with_scale])
            raise LayerError(
                f"model {name!r} does not exist.{hint} Give the path of a model YAML, or a bare name such as "
                "yolo11n-ema.yaml (yolo<version><scale>-<what>.yaml)"
            )
    elif path.suffix == ".pt" and path.name not in GITHUB_ASSETS_NAMES:
        raise CheckpointError(f"checkpoint {name!r} does not exist; give the path of a .pt file")


def open_model(name: str, task: str | None = None, *, verbose: bool = False) -> Any:
    """Return ``YOLO(name)``, checked as by :func:`check_model`; ``verbose`` prints the layer table of a YAML."""
    check_model(name)
    from ultralytics.models import YOLO

    return YOLO(name, task=task, verbose=verbose)


def check_source(name: str) -> None:
    """Raise a DataError if the images to predict on do not exist."""
    if "://" in name or name.isnumeric() or name.startswith("screen") or any(c in name for c in "*?["):
        return
    if not Path(name).exists():
        raise DataError(f"source {name!r} does not exist; give the path of an image, a video or a folder")


def without_scale(name: str) -> str:
    """Return a model YAML's name without the scale's letter."""
    return re.sub(r"(\d+)([nslmx])(.+)?$", r"\1\3", name)


def call(arguments: list[str]) -> None:
    """Run ``yolo`` with these arguments in this process."""
    before = sys.argv[:]
    sys.argv[:] = ["yolo", *arguments]  # in place: Ultralytics keeps a reference to this list
    try:
        from ultralytics.cfg import entrypoint

        contextvars.copy_context().run(entrypoint)  # what it sets (partial=True) ends with it
    finally:
        sys.argv[:] = before
