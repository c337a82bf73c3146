"""What a layer must do in channels_last, in half precision and under autocast."""

from __future__ import annotations

import copy

import torch

from ..registry import BlockSpec
from .block_inputs import an_input, each, flat, forward, make, maps_of, randomised, require

HALVES = (torch.float16, torch.bfloat16)


def agrees_in_channels_last(spec: BlockSpec, training: bool) -> str:
    """Check that a map in channels_last gives the same numbers; return the layout of the output."""
    block = randomised(make(spec).double(), 0.2).train(training)
    x = an_input(spec, size=(6, 10), dtype=torch.float64)
    want = forward(spec, copy.deepcopy(block), x)
    block = block.to(memory_format=torch.channels_last)
    got = forward(
        spec, block, each(x, lambda m: m.to(memory_format=torch.channels_last)), "in memory_format=channels_last"
    )
    require(
        flat(got).shape == flat(want).shape and torch.allclose(flat(got), flat(want), rtol=1e-7, atol=1e-7),
        f"{spec.name}: a map in memory_format=channels_last gives other numbers than the same map in the usual layout. "
        "Use reshape instead of view, flatten, as_strided or .data_ptr tricks, and permute by dimension names",
    )
    layouts = {"channels_last" if m.is_contiguous(memory_format=torch.channels_last) else "usual" for m in maps_of(got)}
    return " and ".join(sorted(layouts))


def large_inputs_stay_finite_under_autocast(spec: BlockSpec, dtype: torch.dtype, training: bool) -> None:
    """Check inputs up to 1000 under autocast, which training uses, forward and backward."""
    block = make(spec).train(training)
    x = _large(spec)
    with torch.autocast("cpu", dtype=dtype, enabled=dtype != torch.float32):
        y = flat(forward(spec, block, x, f"under autocast to {dtype}"))
    require(y.isfinite().all(), _overflows(spec, f"under autocast to {dtype}"))
    if y.requires_grad:
        torch.autograd.backward(y.float().mean())
        wrong = [n for n, p in block.named_parameters() if p.grad is not None and not p.grad.isfinite().all()]
        require(not wrong, f"{_overflows(spec, f'under autocast to {dtype}')} (in the gradient of {', '.join(wrong)})")


def large_inputs_stay_finite_in_a_half_model(spec: BlockSpec, dtype: torch.dtype) -> None:
    """Check inputs up to 1000 in a model in half precision, which prediction with ``half=True`` uses."""
    x = each(_large(spec), lambda m: m.to(dtype))
    y = flat(forward(spec, make(spec).to(dtype).eval(), x))
    require(y.isfinite().all(), _overflows(spec, f"in a model of {dtype}"))


def half_precision_stays_near_float32(spec: BlockSpec, dtype: torch.dtype) -> None:
    """Check that autocast and a model in half precision give nearly the numbers of float32."""
    block = randomised(make(spec), 0.2).eval()
    x = an_input(spec)
    want = flat(forward(spec, block, x))
    with torch.autocast("cpu", dtype=dtype):
        mixed = flat(forward(spec, block, x, f"under autocast to {dtype}"))
    half = flat(forward(spec, copy.deepcopy(block).to(dtype), each(x, lambda m: m.to(dtype))))
    require(
        half.dtype == dtype,
        f"{spec.name}: a model of {dtype} returns {half.dtype}; end forward with .to(x.dtype), and create tensors with "
        "dtype=x.dtype",
    )
    for got, what in ((mixed, f"under autocast to {dtype}"), (half, f"in a model of {dtype}")):
        change = float(((got.float() - want).abs().mean() / want.abs().mean()).detach())
        require(
            change < 0.02,
            f"{spec.name}: {what} the output differs from that in float32 by {change:.1%} on average (at most 2 % is "
            "rounding). Compute softmax, variances and long sums in float32: x.float(), then .to(x.dtype)",
        )


def _large(spec: BlockSpec) -> list[torch.Tensor] | torch.Tensor:
    x: list[torch.Tensor] | torch.Tensor = each(an_input(spec, size=(20, 20)), lambda m: 1e3 * m / m.abs().max())
    return x


def _overflows(spec: BlockSpec, what: str) -> str:
    return (
        f"{spec.name}: inputs up to 1000 give inf or nan {what}. float16 ends at 65504: compute squares, sums over "
        "positions and exponentials in float32 (x.float(), then .to(x.dtype)), and divide before you sum"
    )
