"""What a layer's exported graph must do: give the block's numbers at other image and batch sizes than its own.

The conversions are those of Ultralytics: ``torch.jit.trace``, and ``torch.onnx.export`` without dynamo.
"""

from __future__ import annotations

import importlib
import inspect
import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from ..integration.queries import export_limits
from ..registry import BlockSpec
from .block_inputs import C, options_of, randomised, reads_several_sizes, require

OPSET = 18
Size = tuple[int, int, int, int]


class OneMap(nn.Module):
    """A block behind an interface of one map in and one tensor out.

    A block with a list of inputs reads the map and a smaller copy of it; of the same size, if it cannot read others.
    """

    def __init__(self, spec: BlockSpec, options: Mapping[str, Any], channels: int = C, noise: float = 0.1) -> None:
        super().__init__()
        self.inputs = spec.inputs
        self.pool = 1 if spec.inputs == "one" or not reads_several_sizes(spec) else 2
        arguments = (channels,) if spec.output == "argument" else ()
        options = {"n": 1, **options} if spec.repeats == "argument" else options
        self.block = randomised(
            spec.build(channels if self.inputs == "one" else [channels] * 2, *arguments, **options), noise
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the block's output; the maps of a list one after the other."""
        y: Any = self.block(x if self.inputs == "one" else [x, F.max_pool2d(x, self.pool)])
        return torch.cat([m.flatten(1) for m in y], 1) if isinstance(y, list) else y


def traced_at(channels: int) -> Size:
    """Return the size at which graphs are made."""
    return (1, channels, 12, 20)


def other_sizes(channels: int) -> list[Size]:
    """Return other batch and image sizes."""
    return [(3, channels, 12, 20), (1, channels, 24, 10), (2, channels, 30, 28), (1, channels, 6, 4)]


def trace(block: nn.Module, x: torch.Tensor) -> Any:
    """Return the TorchScript graph, made as Ultralytics makes it."""
    return torch.jit.trace(block, (x,), strict=False, check_trace=False)  # type: ignore[no-untyped-call]


def onnx_of(block: nn.Module, channels: int = C, *, dynamic: bool = True, opset: int = OPSET) -> bytes:
    """Return the bytes of the ONNX model that Ultralytics would write without simplifying."""
    content = io.BytesIO()
    axes = {"images": {0: "batch", 2: "height", 3: "width"}} if dynamic else None
    more: dict[str, Any] = {"opset_version": opset, "input_names": ["images"], "dynamic_axes": axes}
    if "dynamo" in inspect.signature(torch.onnx.export).parameters:  # older versions of torch have no other exporter
        more["dynamo"] = False
    torch.onnx.export(block, (torch.randn(traced_at(channels)),), content, **more)  # type: ignore[arg-type]  # or a file
    return content.getvalue()


def onnx_runtime(content: bytes) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return a function that runs an ONNX model."""
    runtime = importlib.import_module("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return lambda x: torch.from_numpy(session.run(None, {"images": x.numpy()})[0])


def wrong_size(block: nn.Module, exported: Callable[[torch.Tensor], torch.Tensor], sizes: Sequence[Size]) -> str:
    """Return where an exported graph first differs from the block, and how; empty if nowhere."""
    for size in sizes:
        x = torch.randn(size)
        with torch.no_grad():
            want = block(x.clone())
        try:
            got = exported(x.clone())
        except Exception as error:
            return f"at {size} it raises {type(error).__name__}: {' '.join(str(error).split())[-300:]}"
        if got.shape != want.shape:
            return f"at {size} it returns the shape {tuple(got.shape)} instead of {tuple(want.shape)}"
        if not (got - want).abs().max() < 1e-4 * want.abs().max():
            return f"at {size} its numbers differ by {float((got - want).abs().max()):.2g}"
    return ""


def torchscript_agrees(spec: BlockSpec) -> None:
    """Check the TorchScript graph at several sizes, unless the block declares that it has none."""
    if is_refused(spec, "torchscript"):
        return
    block = OneMap(spec, {}).eval()
    try:
        traced = trace(block, torch.randn(traced_at(C)))
    except Exception as error:
        require(False, f"{spec.name}: the export to TorchScript fails with {type(error).__name__}: {error}. {_ADVICE}")
        raise
    _check(spec, "torchscript", block, traced)


def onnx_agrees(spec: BlockSpec) -> None:
    """Check the ONNX graph at several sizes, unless the block declares that it has none. It needs onnxruntime."""
    if is_refused(spec, "onnx"):
        return
    opset = max([OPSET, *(limit.opset for limit in spec.export_limits)])
    block = OneMap(spec, {}).eval()
    try:
        content = onnx_of(block, opset=opset, dynamic=not is_refused(spec, "onnx", dynamic=True))
        exported = onnx_runtime(content)
    except Exception as error:
        text = " ".join(str(error).split())[:300]
        message = f"{spec.name}: the export to ONNX, opset {opset}, fails with {type(error).__name__}: {text}. "
        require(False, message + _ADVICE)
        raise
    _check(spec, "onnx", block, exported)


def is_refused(spec: BlockSpec, target: str, dynamic: bool = False) -> bool:
    """Return whether the block declares an ExportLimit that refuses this format with the options of the test."""
    return bool(refusals(spec, options_of(spec), target, dynamic=dynamic))


def refusals(
    spec: BlockSpec, options: Mapping[str, Any], target: str, opset: int | None = None, dynamic: bool = False
) -> list[str]:
    """Return what the registry says against the export of a block with these options."""
    channels = [C] if spec.output == "argument" else []
    row = [-1, 1, spec.name, [*channels, dict(options)]]
    return list(export_limits.refusals({"head": [row]}, target, opset, dynamic))


_ADVICE = (
    "If nothing can be done, declare it: register(..., export_limits=[ExportLimit(formats=('onnx',), reason='...')]), "
    "with opset=... if later opsets work, or with dynamic=True if one size works"
)


def _check(spec: BlockSpec, target: str, block: nn.Module, exported: Callable[[torch.Tensor], torch.Tensor]) -> None:
    name = {"torchscript": "TorchScript", "onnx": "ONNX"}[target]
    size = traced_at(C)
    wrong = wrong_size(block, exported, [size])
    require(
        not wrong,
        f"{spec.name}: its {name} graph is wrong at the size it was made for: {wrong}. Draw no random numbers in eval "
        f"mode, and take no branch on the values of a map. {_ADVICE}",
    )
    if is_refused(spec, target, dynamic=True):
        return
    wrong = wrong_size(block, exported, other_sizes(C))
    require(
        not wrong,
        f"{spec.name}: its {name} graph was made at {size} and holds for that size only: {wrong}. A size became a "
        "constant: use x.shape without int(), float(), math or a list of tensors built from it in __init__, "
        "reshape(B, C, -1) with one -1, flatten, expand_as and interpolate(size=x.shape[2:])",
    )
