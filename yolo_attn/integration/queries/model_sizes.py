"""How large a model YAML's content makes a model: its layers, parameters and operations.

Each function takes the content and a letter of its ``scales``; by default the one it was loaded with, or its first. It
raises a LayerError if a row cannot be built.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from ...alignment.layer_alignment import Layer
from ...errors import LayerError, UserError
from .. import install
from . import gflops_count, layer_types, model_graph, model_layers, validation


def layers(model: dict[str, Any], scale: str = "") -> list[Layer]:
    """Return the layers as the alignment of pretrained weights takes them."""
    with model_graph.modules(model, scale) as built:
        return model_layers.describe(SimpleNamespace(model=built, yaml=model))


def parameters(model: dict[str, Any], scale: str = "") -> int:
    """Return the number of parameters for the content's ``nc`` classes."""
    with model_graph.modules(model, scale) as built:
        return sum(p.numel() for p in built.parameters())


def gflops(model: dict[str, Any], scale: str = "", imgsz: int = gflops_count.IMGSZ) -> float:
    """Return the operations of one image of a detection model in billions, see :func:`gflops_count.model_gflops`.

    Args:
        model: The content.
        scale: A letter of its ``scales``.
        imgsz: Height and width of the image in pixels.

    Raises:
        LayerError: If the model cannot be built, or cannot process an image of this size.
    """
    install()
    content = model_graph.at_scale(model, scale)
    try:
        return gflops_count.model_gflops(validation.build(content), imgsz)
    except UserError:
        raise
    except Exception as error:  # Ultralytics' layers raise errors of many types
        if layer_types.names_any(content) and not isinstance(error, RuntimeError | ValueError):
            raise  # a fault of a layer
        why = " ".join(str(error).split())
        raise LayerError(f"{content['yaml_file']}: the model cannot be run at {imgsz} px: {why}") from error
