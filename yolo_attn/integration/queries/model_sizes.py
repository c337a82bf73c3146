"""How large a model YAML's content makes a model: its layers, parameters and operations."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from ...alignment.layer_alignment import Layer
from ...errors import LayerError
from .. import install
from . import gflops_count, model_graph, model_layers, validation


def layers(model: dict[str, Any], scale: str = "") -> list[Layer]:
    """Return the layers of a model YAML's content as the alignment of pretrained weights takes them.

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
    """Return the number of parameters for the content's ``nc`` classes; see :func:`layers`."""
    install()
    content, _, file = model_graph.at_scale(model, scale)
    with model_graph.modules(content, file) as built:
        return sum(p.numel() for p in built.parameters())


def gflops(model: dict[str, Any], scale: str = "", imgsz: int = gflops_count.IMGSZ) -> float:
    """Return the operations of one image in billions, as :func:`gflops_count.model_gflops` counts them.

    Args:
        model: The content of a detection model's YAML.
        scale: A letter of its ``scales``; by default the one it was loaded with, or its first.
        imgsz: Height and width of the image in pixels.

    Raises:
        LayerError: If the model cannot be built, or cannot be run at this size.
    """
    install()
    content, _, file = model_graph.at_scale(model, scale)
    try:
        return gflops_count.model_gflops(validation.build(content), imgsz)
    except LayerError:
        raise
    except Exception as error:  # of the layers, which raise errors of many types
        why = " ".join(str(error).split())
        raise LayerError(f"{file}: the model cannot be run at {imgsz} px: {why}") from error
