"""How many operations a forward pass takes, counted operator by operator as it runs, by torch's ``FlopCounterMode``.

An addition or multiplication is one operation, so a multiply-add is two. Counted are

- convolutions and transposed convolutions, without bias;
- matrix products, however they are written (``Linear``, ``matmul``, ``@``, ``einsum``, ``bmm``,
  ``MultiheadAttention``);
- ``scaled_dot_product_attention``: both products, ``2 L S (d + e)`` for each head with L queries of d channels and S
  keys with values of e, whichever kernel runs and whatever the mask leaves out;
- sampling between cells (``grid_sample`` and ``interpolate``): two for each neighbour of each output value;
- Fourier transforms: ``5 n log2 n`` of n complex, half of that of n real values.

Not counted are norms, activations, softmax, pooling, sums, products element by element, as of a map with its gate, and
what moves data only. Ultralytics prints thop's figure, which depends on its version: all count batch norms, and those
before ultralytics-thop 2.2 leave out what a ``forward`` does by itself, as the products of most attention layers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

Shape = Sequence[int]

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


def operations(model: nn.Module, *inputs: Any) -> int:
    """Return the number of operations of ``model(*inputs)``; see the module's head for what is counted."""
    counter = FlopCounterMode(display=False, custom_mapping=_formulas())
    with torch.no_grad(), _frozen(model), _unfused_attention(), counter:
        model(*inputs)
    return int(counter.get_total_flops())


@contextmanager
def _frozen(model: nn.Module) -> Iterator[None]:
    """Have no parameter need a gradient: the counter fails on a module that returns a view of one that does."""
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
    """Have ``nn.MultiheadAttention`` run its products one by one; in eval mode it is one operator without a formula."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def _formulas() -> dict[Any, Callable[..., int]]:
    """Return the count by operator, of those that this torch has; they are called with shapes in place of tensors."""
    wanted: dict[str, Callable[..., int]] = {
        "mv": lambda a, b, **_: 2 * math.prod(a),
        "dot": lambda a, b, **_: 2 * math.prod(a),
        "addmv": lambda c, a, b, *_, **__: 2 * math.prod(a),
        "addbmm": lambda c, a, b, *_, **__: 2 * math.prod(a) * b[2],
        "_fft_r2c": lambda x, dims, *_, **__: _fft(x, dims) // 2,
        "_fft_c2r": lambda x, dims, *_, out_shape, **__: _fft(out_shape, dims) // 2,
        "_fft_c2c": lambda x, dims, *_, **__: _fft(x, dims),
        **dict.fromkeys(ATTENTION, _attention),
        **{name: _sampling(count) for name, count in NEIGHBOURS.items()},
    }
    found = {getattr(torch.ops.aten, name, None): formula for name, formula in wanted.items()}
    found.pop(None, None)
    return found


def _attention(q: Shape, k: Shape, v: Shape, *_: Any, **__: Any) -> int:
    """Count by the queries' heads, of which several may share a key's."""
    return 2 * math.prod(q[:-1]) * k[-2] * (q[-1] + v[-1])


def _sampling(neighbours: int) -> Callable[..., int]:
    def count(*_: Any, out_shape: Shape, **__: Any) -> int:
        return 2 * neighbours * math.prod(out_shape)

    return count


def _fft(x: Shape, dims: Sequence[int]) -> int:
    """Count the transforms of ``x``, real or complex values before or after, over ``dims``."""
    return round(5 * math.prod(x) * math.log2(math.prod(x[dim] for dim in dims)))
