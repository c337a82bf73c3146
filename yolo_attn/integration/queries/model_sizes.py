"""How large a model YAML's content makes a model, without building it for real: all on PyTorch's meta device."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from ...alignment.layer_alignment import Layer
from ...errors import LayerError
from .. import install
from . import model_graph, model_layers

IMGSZ = 640  # pixels; the size at which every YOLO table gives operations


def layers(model: dict[str, Any], scale: str = "") -> list[Layer]:
    """Return the layers of a model YAML's content as the alignment of pretrained weights sees them.

    Args:
        model: The content.
        scale: A letter of its ``scales``; by default the one it was loaded with, or its first.

    Raises:
        LayerError: If a row cannot be built.
    """
    install()
    content, _, file = model_graph.at_scale(model, scale)
    with model_graph.modules(content, file) as built:
        return model_layers.describe(SimpleNamespace(model=built, yaml=content))


def parameters(model: dict[str, Any], scale: str = "") -> int:
    """Return the number of parameters, for as many classes as the content's ``nc`` says.

    Raises:
        LayerError: If a row cannot be built.
    """
    install()
    content, _, file = model_graph.at_scale(model, scale)
    with model_graph.modules(content, file) as built:
        return sum(p.numel() for p in built.parameters())


def gflops(model: dict[str, Any], scale: str = "", imgsz: int = IMGSZ) -> float:
    """Return 2 x the multiply-adds of one image in billions: convolutions, matrix products and attention.

    The head is counted up to its raw maps.

    Args:
        model: The content.
        scale: A letter of its ``scales``; by default the one it was loaded with, or its first.
        imgsz: Height and width of the image, pixels.

    Raises:
        LayerError: If a row cannot be built, or cannot read what it reads.
    """
    import torch

    install()
    content, _, file = model_graph.at_scale(model, scale)
    total, outputs = 0, list[Any]()
    with model_graph.modules(content, file) as built:
        built.requires_grad_(False)  # the counter looks for gradient functions, which there are none of here
        image = torch.zeros(1, model_graph.image_channels(content), imgsz, imgsz)
        for layer in built:
            reads = [layer.f] if isinstance(layer.f, int) else layer.f
            x = [(outputs[j] if outputs else image) for j in reads]
            layer.train(layer is built[-1])  # a detection head in eval mode goes on to boxes, of strides not set here
            try:
                operations, output = _counted(layer, x[0] if isinstance(layer.f, int) else x)
            except Exception as error:
                why = " ".join(str(error).split())
                raise LayerError(f"{file}: layer {layer.i} cannot be run at {imgsz} px: {why}") from error
            total += operations
            outputs.append(output)
    return total / 1e9


def _counted(layer: Any, x: Any) -> tuple[int, Any]:
    """Return a layer's operations and its output; on zeros where an operation of it has no meta version."""
    from torch.utils.flop_counter import FlopCounterMode

    try:
        with FlopCounterMode(display=False) as counter:
            output = layer(x)
    except Exception:
        with FlopCounterMode(display=False) as counter:  # anew: the half that was counted does not count
            output = model_graph.run_on_zeros(layer, (x,))
    return int(counter.get_total_flops()), output
