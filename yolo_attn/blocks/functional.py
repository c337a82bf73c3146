"""Functions that the blocks call. Checkpoints do not name them, so they may move or change.

In order: argument checks; float32 islands, where half precision would overflow or round too much; sizes in graphs;
resizing; recomputation in the backward pass, which saves memory.

A size read from ``shape`` is an int, but a tensor while torch traces, and a ``torch.SymInt`` while it exports or
compiles for any size. ``int(size)`` would build one size into the graph, so blocks compute with the size as it is. The
operators ``+ - * // %``, slices, reshapes and ``torch.arange`` accept all three.
"""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeGuard

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from ..messages import joined, nearest

_export_format: ContextVar[str] = ContextVar("export_format", default="")


def is_int(value: object, least: int = 1) -> TypeGuard[int]:
    """Return whether ``value`` is an int of at least ``least``; a bool is not."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def check_positive(block: str, **numbers: object) -> None:
    """Raise ValueError unless every number is a positive int."""
    for name, value in numbers.items():
        if not is_int(value):
            raise ValueError(f"{block}: {name}={value!r} must be a positive integer; the smallest is {name}=1")


def check_number(block: str, name: str, value: object, default: float, most: float | None = None) -> None:
    """Raise ValueError unless ``value`` is a finite number above 0, and at most ``most`` if given."""
    number = value if isinstance(value, (int, float)) and not isinstance(value, bool) else math.nan
    if not (0 < number < math.inf and (most is None or number <= most)):
        limit = "" if most is None else f", at most {most}"
        raise ValueError(f"{block}: {name}={value!r} must be a number above 0{limit}; the default is {default}")


def check_positives(block: str, name: str, values: object, example: str = "one for each input map") -> None:
    """Raise ValueError unless ``values`` is a non-empty list of positive ints."""
    if not isinstance(values, Sequence) or isinstance(values, str) or not values or not all(map(is_int, values)):
        raise ValueError(f"{block}: {name}={values!r} must be a list of positive integers; {example}")


def check_divides(block: str, by: str, divisor: int, name: str, value: int) -> None:
    """Raise ValueError unless ``divisor`` divides ``value``; the message lists the divisors."""
    if value % divisor:
        fits = [d for d in range(1, value + 1) if value % d == 0]
        raise ValueError(f"{block}: {by}={divisor} must divide {name}={value}; divisors of {value}: {fits}")


def check_choice(block: str, name: str, value: object, choices: Sequence[str]) -> None:
    """Raise ValueError unless ``value`` is one of ``choices``; the first choice is the default."""
    if not isinstance(value, str) or value not in choices:
        hint = nearest(str(value), choices).strip() or f"the default is {choices[0]!r}"
        raise ValueError(f"{block}: {name}={value!r} must be one of {', '.join(map(repr, choices))}; {hint}")


def check_bool(block: str, **values: object) -> None:
    """Raise ValueError unless every value is a bool."""
    for name, value in values.items():
        if not isinstance(value, bool):
            raise ValueError(f"{block}: {name}={value!r} must be true or false")


def check_used(block: type, needs: Mapping[str, tuple[str, Sequence[object]]], **values: object) -> None:
    """Raise ValueError if an option is given that another option makes useless.

    Args:
        block: The class. Its signature holds the defaults; an option with its default value passes.
        needs: Option -> the option it depends on, and the values of that option with which it has an effect.
        values: The value of every option that ``needs`` names.
    """
    parameters = inspect.signature(block).parameters
    for option, (other, working) in needs.items():
        if values[option] != parameters[option].default and values[other] not in working:
            raise ValueError(
                f"{block.__name__}: {option}={values[option]!r} has no effect with {other}={values[other]!r}; "
                f"it works with {other}={joined(map(repr, working), ' or ')}"
            )


def at_least_float32(x: Tensor) -> Tensor:
    """Return ``x`` in float32, or unchanged if it is float64."""
    return x if x.dtype == torch.float64 else x.float()


def in_float32(layer: nn.Module, x: Tensor) -> Tensor:
    """Apply ``layer`` in float32 or float64, also under autocast and in a half precision model.

    A model that trains in half precision is the exception: its batch norms update their statistics in that dtype.

    Args:
        layer: A 2d convolution, linear layer, layer norm or batch norm.
        x: Its input, of any dtype.
    """
    with torch.autocast(x.device.type, enabled=False):
        x = at_least_float32(x)
        dtype = next(layer.parameters()).dtype
        if layer.training or dtype == x.dtype:
            return at_least_float32(batch_norm(layer, x.to(dtype)))
        w = {name: tensor.to(x.dtype) for name, tensor in (*layer.named_parameters(), *layer.named_buffers())}
        weight, bias = w["weight"], w.get("bias")
        if isinstance(layer, nn.Linear):
            return F.linear(x, weight, bias)
        if isinstance(layer, nn.LayerNorm):
            return F.layer_norm(x, layer.normalized_shape, weight, bias, layer.eps)
        if isinstance(layer, nn.Conv2d):
            return F.conv2d(x, weight, bias, layer.stride, layer.padding, layer.dilation, layer.groups)
        assert isinstance(layer, _BatchNorm), f"in_float32 does not support {type(layer).__name__}"
        return F.batch_norm(x, w["running_mean"], w["running_var"], weight, bias, False, 0.0, layer.eps)


def batch_norm(norm: nn.Module, x: Tensor) -> Tensor:
    """Apply ``norm`` to ``x``, ``(B, C, ...)``; use the running statistics if training sees one value per channel.

    One value has no variance, so torch raises. A model with such a layer could not train with batch size 1, and
    Ultralytics 8.3.0 could not build it, because it computes the strides with one image in train mode. The running
    statistics stay unchanged.
    """
    if norm.training and isinstance(norm, _BatchNorm) and x.shape[0] * x[0, 0].numel() == 1:
        return F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias, False, 0.0, norm.eps)
    return norm(x)


def mean_in_float32(x: Tensor, dims: int | tuple[int, int]) -> Tensor:
    """Return the mean over ``dims`` in float32 or float64, without a float32 copy of ``x``."""
    if x.dtype in (torch.float32, torch.float64):
        return x.mean(dims, keepdim=True)  # LiteRT's converter does not support the argument dtype
    return x.mean(dims, keepdim=True, dtype=torch.float32)


def is_fixed(*sizes: int) -> bool:
    """Return whether all sizes are plain ints, so that Python can compare them."""
    return all(type(n) is int for n in sizes)


def smaller_of(a: int, b: int) -> int:
    """Return the smaller one of the size ``a`` and the int ``b``."""
    return a.clamp(max=b) if isinstance(a, Tensor) else torch.sym_min(a, b)  # type: ignore[return-value]


def traced_value(size: int) -> int:
    """Return the int behind a size that torch is tracing; any other size unchanged."""
    if not isinstance(size, Tensor):
        return size
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        return int(size)


def part_starts(size: int, parts: int) -> list[int]:
    """Return where each of ``parts`` almost equal parts of ``size`` starts, and where the last one ends."""
    return [n * size // parts for n in range(parts + 1)]


def graph_parts(size: int, scores: int, most: int) -> int:
    """Return in how many parts a graph computes ``scores`` numbers, ``most`` at a time; 1 if the sizes are unknown."""
    size, scores = traced_value(size), traced_value(scores)
    return max(1, min(size, -(-scores // most))) if is_fixed(size, scores) and not compiling() else 1


def averaging_matrix(size: int, cells: int, overlap: bool, like: Tensor) -> Tensor:
    """Return the matrix, ``(cells, size)``, that averages ``size`` neighbours to ``cells`` values.

    Cell k starts at floor(k * size / cells). With ``overlap`` it ends before ceil((k + 1) * size / cells), as in
    adaptive average pooling; otherwise where the next cell starts. It holds at least one neighbour.
    """
    k = torch.arange(cells, device=like.device).unsqueeze(1)
    n = torch.arange(size, device=like.device)
    first = k * size // cells
    last = ((k + 1) * size + cells - 1) // cells if overlap else torch.maximum(first + 1, (k + 1) * size // cells)
    inside = ((n >= first) & (n < last)).to(like.dtype)
    return inside / inside.sum(1, keepdim=True)


def interpolation_matrix(size: int, length: int, like: Tensor) -> Tensor:
    """Return the matrix, ``(length, size)``, that takes the middle of ``size`` values, or stretches them if too few.

    A stretched axis keeps its first, middle and last value and is linear in between. Size and length are both odd.
    """
    n = torch.arange(length, device=like.device, dtype=like.dtype).unsqueeze(1)
    last = n[-1:]
    step = ((size - 1) / last.clamp(min=1)).clamp(max=1)
    position = (n - last / 2) * step + (size - 1) / 2
    return (1 - (position - torch.arange(size, device=like.device, dtype=like.dtype)).abs()).clamp(min=0)


def middle_or_stretched(x: Tensor, size: int, length: int) -> Tensor:
    """Return ``length`` values of the ``size`` along the last axis: the middle ones, or all of them stretched."""
    if is_fixed(length) and length <= size:
        return x.narrow(-1, (size - length) // 2, length)
    return torch.matmul(x, interpolation_matrix(size, length, x).transpose(0, 1))


def resize_by_mean(x: Tensor, height: int, width: int, overlap: bool) -> Tensor:
    """Resize ``x``, ``(B, C, H, W)``, to ``(B, C, height, width)``: average to fewer cells, repeat to more."""
    H, W = x.shape[2:]
    x = torch.matmul(x, averaging_matrix(W, width, overlap, x).transpose(0, 1))  # B C H width
    return torch.matmul(averaging_matrix(H, height, overlap, x), x)  # B C height width


def resize_by_max(x: Tensor, size: Sequence[int]) -> Tensor:
    """Resize the map ``x`` to ``size``: max pooling where it is larger, nearest neighbour where it is smaller."""
    small = [min(a, b) for a, b in zip(x.shape[2:], size, strict=True)]
    ratio = [a // b for a, b in zip(x.shape[2:], small, strict=True)]
    if list(x.shape[2:]) == [r * b for r, b in zip(ratio, small, strict=True)]:
        if max(ratio) > 1:  # whole multiples: kernel = stride, which all exporters support
            x = max_pool(x, ratio)
    elif x.ndim == 4:
        x = F.adaptive_max_pool2d(x, small)
    else:
        x = F.adaptive_max_pool3d(x, small)
    return x if list(x.shape[2:]) == list(size) else F.interpolate(x, size=list(size), mode="nearest")


def max_pool(x: Tensor, kernel: Sequence[int]) -> Tensor:
    """Max-pool a 2d or 3d map with stride = ``kernel``."""
    kernel = [int(k) for k in kernel]  # traced sizes are tensors
    return F.max_pool2d(x, kernel) if x.ndim == 4 else F.max_pool3d(x, kernel)


def building_graph() -> bool:
    """Return whether torch is tracing, exporting or compiling. Exporters do not support recomputation."""
    return torch.jit.is_tracing() or torch.compiler.is_compiling()  # type: ignore[attr-defined,no-untyped-call]


@contextmanager
def export_to(name: str) -> Iterator[None]:
    """Let blocks know the export format, as Ultralytics calls it, until the end of the ``with`` block."""
    token = _export_format.set(name)
    try:
        yield
    finally:
        _export_format.reset(token)


def exporting_to(*names: str) -> bool:
    """Return whether the model is being exported to one of these formats; never while torch compiles."""
    return not torch.compiler.is_compiling() and _export_format.get() in names


def compiling() -> bool:
    """Return whether torch compiles for one or any size, and does not export."""
    exporting = getattr(torch.compiler, "is_exporting", lambda: False)  # torch 2.7
    return torch.compiler.is_compiling() and not exporting()


def recomputes(*tensors: Tensor) -> bool:
    """Return whether a function of ``tensors`` is to be computed again in the backward pass."""
    return torch.is_grad_enabled() and any(t.requires_grad for t in tensors) and not building_graph()


def recompute_in_backward(part: Callable[..., tuple[Tensor, ...]], *args: Tensor) -> tuple[Tensor, ...]:
    """Return ``part(*args)``; if gradients are needed, keep only ``args`` and compute it again in the backward pass."""
    return checkpoint(part, *args, use_reentrant=False, preserve_rng_state=False) if recomputes(*args) else part(*args)


class RecomputedParts(torch.autograd.Function):
    """Compute a tensor of the first input's shape part by part, and each part again in the backward pass.

    Call it as ``apply(part, indices, *tensors)``. For each ``index`` of ``indices``, ``part(index, *pieces)`` returns
    ``y[index[0]]``; piece k is ``tensors[k][index[k]]``. With ``torch.utils.checkpoint`` the forward pass of attention
    could not use the fused kernels: they take no bias with a gradient.
    """

    @staticmethod
    def forward(ctx: Any, part: Callable[..., Tensor], indices: Sequence[Any], *tensors: Tensor) -> Tensor:
        ctx.part, ctx.indices = part, indices
        ctx.save_for_backward(*tensors)
        y = torch.empty_like(tensors[0])
        for index in indices:
            y[index[0]] = part(index, *(t[i] for t, i in zip(tensors, index, strict=True)))
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        tensors = ctx.saved_tensors
        sums = [torch.zeros_like(t, dtype=at_least_float32(t[:0]).dtype) for t in tensors]
        with torch.enable_grad(), torch.autocast(grad.device.type, enabled=False):
            for index in ctx.indices:
                pieces = [t[i].detach().requires_grad_() for t, i in zip(tensors, index, strict=True)]
                grads = torch.autograd.grad(ctx.part(index, *pieces), pieces, grad[index[0]])
                for total, i, g in zip(sums, index, grads, strict=True):
                    total[i] += g
        return None, None, *(total.to(t.dtype) for total, t in zip(sums, tensors, strict=True))
