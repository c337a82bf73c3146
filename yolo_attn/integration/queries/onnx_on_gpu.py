"""Conversions to ONNX of models that lie on a GPU, as for ``device=0`` and TensorRT.

The exporter of torch computes what is constant in advance. Positions that a layer makes on the GPU and sizes that the
exporter keeps on the CPU then meet in one operation, and it fails. Without that step the graph is the same, with more
operations, most of which onnxslim removes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

TWO_DEVICES = "to be on the same device"


@contextmanager
def unfolded_if_needed() -> Iterator[None]:
    """Convert without computing constants in advance where torch fails at it, until the end of the ``with`` block."""
    import torch.onnx
    from ultralytics.utils import LOGGER

    original = torch.onnx.export

    def export(*args: Any, **kwargs: Any) -> Any:
        try:
            return original(*args, **kwargs)
        except RuntimeError as error:
            if TWO_DEVICES not in str(error):
                raise
        LOGGER.info("ONNX: torch cannot compute the constants of this model on the GPU; they stay in the graph")
        return original(*args, **{**kwargs, "do_constant_folding": False})

    torch.onnx.export = export
    try:
        yield
    finally:
        torch.onnx.export = original
