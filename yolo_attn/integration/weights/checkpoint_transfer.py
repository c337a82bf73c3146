"""Copy a checkpoint's weights to another model and write an ordinary checkpoint of Ultralytics."""

from __future__ import annotations

import copy
import io
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from ... import atomic_files
from ...alignment.transfer_summary import line
from ...errors import CheckpointError, LayerError, UserError, user_error_in
from .. import install
from ..queries import model_layers, yolo_command
from ..strict_mode import strict
from . import loading


def transfer(
    source: str | Path,
    model: str | Path,
    out: str | Path,
    *,
    partial: bool = False,
    layers: Mapping[int, int] | None = None,
    force: bool = False,
) -> str:
    """Copy a checkpoint's weights to another model, matching layers even if their numbers changed.

    The new model has the source's classes. The letter in its file name is its scale (``yolo11n-ema.yaml``).

    Args:
        source: The checkpoint (``.pt``).
        model: The model YAML.
        out: The checkpoint to write (``.pt``).
        partial: Write it even if fewer than half of the tensors fit.
        layers: Known pairs: number of the source's layer to number of the model's layer.
        force: Overwrite ``out``.

    Returns:
        One line that says what was transferred.

    Raises:
        CheckpointError: If the source is missing or not a checkpoint, too few tensors fit, or matches are ambiguous.
        LayerError: If the model is missing or cannot be built.
        ArgumentError: If ``out`` cannot be written.
    """
    install()
    output = atomic_files.check_output(out, [".pt"], force=force)
    if Path(model).suffix not in (".yaml", ".yml"):
        raise LayerError(f"model {str(model)!r} must be a model YAML: the weights are loaded into a new model")
    with strict(), loading.options(partial=partial, partial_argument="--partial", pins=layers):
        like = yolo_command.open_model(str(model)).model
        trained, arguments = _open(source)
        half = _fits_half(trained)
        target = _build(like, trained)
        outcome = loading.load_quietly(target, trained)
    with atomic_files.whole_file(output) as part:
        _write(target, arguments, part, half)
    return line(outcome)


def _open(source: str | Path) -> tuple[Any, dict[str, Any]]:
    """Return a checkpoint's model and the arguments it was trained with."""
    from ultralytics.nn.tasks import torch_safe_load

    if Path(source).suffix != ".pt":
        raise CheckpointError(f"{source}: the weights must be a checkpoint (.pt)")
    yolo_command.check_model(str(source))
    try:
        checkpoint, _ = torch_safe_load(str(source))
    except Exception as error:
        if isinstance(error, UserError) or (reason := user_error_in(error)) is None:
            raise
        raise CheckpointError(f"{source} is no checkpoint that Ultralytics can load: {reason}") from error
    found: Any = (checkpoint.get("ema") or checkpoint.get("model")) if isinstance(checkpoint, dict) else None
    if not model_layers.is_list_of_layers(found):
        raise CheckpointError(
            f"{source} is no checkpoint of a model built from a model YAML; give one that yolo trained"
        )
    found.pt_path = str(source)
    return found.eval(), checkpoint.get("train_args") or {}


def _fits_half(model: Any) -> bool:
    """Return whether half precision, in which Ultralytics writes checkpoints, keeps every weight exactly."""
    import torch

    return all(bool((t.half() == t).all()) for t in model.state_dict().values() if t.dtype == torch.float32)


def _build(like: Any, trained: Any) -> Any:
    """Build a model like ``like`` with the classes of the trained one."""
    taken = {k: v for k, v in (trained.yaml or {}).items() if k in ("channels", "kpt_shape") and k in like.yaml}
    config = {**copy.deepcopy(like.yaml), **taken}
    target = type(like)(config, ch=config.get("channels", 3), nc=model_layers.classes_of(trained), verbose=False)
    target.task = like.task
    target.names = dict(trained.names)
    return target


def _write(model: Any, arguments: Mapping[str, Any], file: Path, half: bool) -> None:
    """Write a checkpoint as Ultralytics does at the end of a training."""
    import torch
    from ultralytics import __version__

    kept = {k: arguments[k] for k in ("imgsz", "data", "single_cls") if k in arguments}
    model.args = {**kept, "task": model.task}
    checkpoint = {
        "epoch": -1,
        **dict.fromkeys(("best_fitness", "ema", "updates", "optimizer")),
        "model": model.half() if half else model.float(),
        "train_args": model.args,
        "date": datetime.now().astimezone().isoformat(),
        "version": __version__,
        "license": "AGPL-3.0 (https://ultralytics.com/license)",
        "docs": "https://docs.ultralytics.com",
    }
    content = io.BytesIO()  # torch's own writer hides the reason if it cannot write
    torch.save(checkpoint, content)
    file.write_bytes(content.getbuffer())
