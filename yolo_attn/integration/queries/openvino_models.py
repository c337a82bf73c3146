"""OpenVINO models on the CPU: in which precision they compute, and how to run them in float32.

On CPUs with bfloat16 instructions OpenVINO rounds every layer to bfloat16 unless it is told not to.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch


def precision_of(backend: Any) -> str:
    """Return ``bfloat16`` or ``float16`` if a compiled model computes in it; empty for float32 or if unknown."""
    compiled = getattr(backend, "ov_compiled_model", None)
    if compiled is None:
        return ""
    hint = str(compiled.get_property("INFERENCE_PRECISION_HINT"))
    return "bfloat16" if "bf" in hint else "float16" if "16" in hint else ""


def in_float32(folder: str) -> Callable[[torch.Tensor], list[torch.Tensor]]:
    """Return a function that runs the model of an exported folder in float32, on the CPU."""
    import openvino  # type: ignore[import-untyped, unused-ignore]

    model = openvino.Core().read_model(next(Path(folder).glob("*.xml")))
    compiled = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def run(x: torch.Tensor) -> list[torch.Tensor]:
        return [torch.from_numpy(y.copy()) for y in compiled(x.cpu().numpy()).values()]

    return run
