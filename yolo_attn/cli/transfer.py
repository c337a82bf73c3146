"""``yolo-attn transfer``: copy a checkpoint's weights to another model."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter
from rich.console import Console

from .. import install
from ..alignment.layer_alignment import parse_pins
from ..errors import ArgumentError


def parse_aliases(text: str) -> dict[str, str]:
    """Return the pairs of ``class=layer,class=layer``; raise an ArgumentError for anything else."""
    pairs = [part.strip().split("=") for part in text.split(",") if part.strip()]
    if any(len(pair) != 2 or not all(pair) for pair in pairs):
        raise ArgumentError(f"--alias {text!r} must be pairs class=layer, such as ultralytics.nn.EMA.EMA=EMA")
    return dict(pairs)


def run(
    weights: str,
    model: str,
    *,
    output: Annotated[str, Parameter(alias="-o")],
    pins: Annotated[str, Parameter(name="--map")] = "",
    alias: str = "",
    partial: bool = False,
    force: bool = False,
) -> int:
    """Copy a checkpoint's weights to another model, matching layers even if their indices changed.

    Writes an ordinary checkpoint. In a later training, freeze=transferred freezes the transferred layers, and
    new_lr_mult= scales the learning rate of the new ones.

    Args:
        weights: Checkpoint with the weights.
        model: Model YAML that gets them. The letter in its name is its scale, as in yolo11n-ema.yaml.
        output: Checkpoint to write.
        pins: Pairs source=target of layer indices, for layers with ambiguous matches, such as 6=7,8=10.
        alias: Pairs class=layer for a checkpoint of a fork of Ultralytics: the import path of its layer class, and the
            layer type with the same parameters, such as ultralytics.nn.EMA.EMA=EMA.
        partial: Write the checkpoint even if fewer than half of the tensors fit.
        force: Overwrite an existing file.

    Examples:
        yolo-attn transfer yolo11n.pt yolo11n-ema.yaml -o yolo11n-ema.pt
    """
    layers = parse_pins(pins) if pins else None
    install()
    from ..integration.queries import checkpoints  # start-up time
    from ..integration.weights.checkpoint_transfer import transfer  # start-up time

    checkpoints.use_aliases(parse_aliases(alias))
    checkpoints.warn_of_code(weights)
    line = transfer(weights, model, output, partial=partial, layers=layers, force=force)
    for text in (line, f"Written: {output}"):
        Console().print(text, highlight=False, markup=False, soft_wrap=True)
    return 0
