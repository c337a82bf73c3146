"""Count the operations of a forward pass, operator by operator, with PyTorch's ``FlopCounterMode``.

An addition or a multiplication is one operation, so a multiply-add is two. These are counted:

- convolutions and transposed convolutions, without bias
- matrix products, however they are written (``Linear``, ``matmul``, ``@``, ``einsum``, ``bmm``,
  ``MultiheadAttention``)
- both products of ``scaled_dot_product_attention``: ``2 L S (d + e)`` for each head with L queries of d channels and S
  keys with values of e channels, for every kernel and mask
- sampling between cells (``grid_sample`` and ``interpolate``): two for each neighbour of each output value
- Fourier transforms: ``5 n log2 n`` for n complex values, half of that for n real values

These are not counted: norms, activations, softmax, pooling, sums, element-wise products, and operators that only move
data. Ultralytics prints the count of thop, which depends on its version: all versions count batch norms, and those
before ultralytics-thop 2.2 leave out what a ``forward`` computes itself, such as the products of attention layers.
"""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

Shape = Sequence[int]

IMGSZ = 640  # pixels; the image size for which every YOLO table gives operations

ATTENTION = (
    "_scaled_dot_product_flash_attention",
    "_scaled_dot_product_flash_attention_for_cpu",
    "_scaled_dot_product_efficient_attention",
    "_scaled_dot_product_cudnn_attention",
    "_scaled_dot_product_fused_attention_overrideable",
    "_scaled_dot_product_attention_math_for_mps",
)
NEIGHBOURS = {
    "grid_sampler_2d": 4,
    "grid_sampler_3d": 8,
    "cudnn_grid_sampler": 4,
    "upsample_linear1d": 2,
    "upsample_bilinear2d": 4,
    "upsample_trilinear3d": 8,
    "upsample_bicubic2d": 16,
}


def model_gflops(model: nn.Module, imgsz: int = IMGSZ) -> float:
    """Return the operations of one image in billions for a model as it is deployed: fused, in eval mode, with its head.

    The model, one of Ultralytics' detection models, is not changed. Where PyTorch can derive the shapes, nothing is
    computed. ``imgsz`` is the height and width of the image in pixels.
    """
    deployed = fused(copy.deepcopy(model).cpu())  # a GPU's kernels may fill up channels
    image = torch.zeros(1, next(deployed.parameters()).shape[1], imgsz, imgsz)
    try:
        with FakeTensorMode(allow_non_fake_inputs=True):
            return operations(deployed, image) / 1e9
    except Exception:  # an operator whose shapes depend on values
        return operations(deployed, image) / 1e9


def fused(model: nn.Module) -> nn.Module:
    """Return ``model`` as it is deployed: float32, eval mode, batch norms merged into convolutions; changes it."""
    ready: Any = model.float().eval()
    with torch.no_grad():  # up to Ultralytics 8.3 the merged weights would keep a graph
        return ready.fuse(verbose=False) if hasattr(ready, "fuse") else ready


def operations(model: nn.Module, *inputs: Any) -> int:
    """Return the number of operations of ``model(*inputs)``; the module's docstring says what is counted."""
    counter = FlopCounterMode(display=False, custom_mapping=_formulas())
    with torch.no_grad(), _frozen(model), _unfused_attention(), counter:
        model(*inputs)
    return int(counter.get_total_flops())


@contextmanager
def _frozen(model: nn.Module) -> Iterator[None]:
    """Turn gradients off for all parameters: the counter fails on a module that returns a view of one with them."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad and parameter.is_leaf]
    try:
        for parameter in trained:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)


@contextmanager
def _unfused_attention() -> Iterator[None]:
    """Run the products of ``nn.MultiheadAttention`` one by one; in eval mode it is one operator without a formula."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def _formulas() -> dict[Any, Callable[..., int]]:
    """Return the counting function of each operator that this PyTorch has; they get shapes in place of tensors."""
    wanted: dict[str, Callable[..., int]] = {
        "mv": lambda a, b, **_: 2 * math.prod(a),
        "dot": lambda a, b, **_: 2 * math.prod(a),
        "addmv": lambda c, a, b, *_, **__: 2 * math.prod(a),
        "addbmm": lambda c, a, b, *_, **__: 2 * math.prod(a) * b[2],
        "_fft_r2c": lambda x, dims, *_, **__: _fft(x, dims) // 2,
        "_fft_c2r": lambda x, dims, *_, out_shape, **__: _fft(out_shape, dims) // 2,
        "_fft_c2c": lambda x, dims, *_, **__: _fft(x, dims),
        **dict.fromkeys(ATTENTION, _attention),
        **{name: functools.partial(_sampling, neighbours=count) for name, count in NEIGHBOURS.items()},
    }
    found = {getattr(torch.ops.aten, name, None): formula for name, formula in wanted.items()}
    found.pop(None, None)
    return found


def _attention(q: Shape, k: Shape, v: Shape, *_: Any, **__: Any) -> int:
    """Count by the heads of the queries; several may share a head of the keys."""
    return 2 * math.prod(q[:-1]) * k[-2] * (q[-1] + v[-1])


def _sampling(*_: Any, out_shape: Shape, neighbours: int, **__: Any) -> int:
    return 2 * neighbours * math.prod(out_shape)


def _fft(x: Shape, dims: Sequence[int]) -> int:
    """Count the transforms of ``x`` over ``dims``."""
    return round(5 * math.prod(x) * math.log2(math.prod(x[dim] for dim in dims)))
