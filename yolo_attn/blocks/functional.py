"""Functions that the blocks call. Checkpoints name none of them, so they may move.

In this order: checks of arguments; float32 islands, for what half precision would overflow or round away; norms and
means; resizing to grids and other maps' sizes; recomputing in the backward pass to save memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from ..messages import nearest


def is_positive(value: object) -> bool:
    """Tell whether ``value`` is an int of at least 1 (``True`` is not one)."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def check_positive(block: str, what: str, value: object) -> None:
    """Raise ValueError unless ``value`` is a positive int."""
    if not is_positive(value):
        raise ValueError(f"{block}: {what}={value!r} must be a positive integer; {what}=1 is the smallest")


def check_positives(block: str, what: str, values: object) -> None:
    """Raise ValueError unless ``values`` is a non-empty list of positive ints."""
    if not isinstance(values, Sequence) or isinstance(values, str) or not values or not all(map(is_positive, values)):
        raise ValueError(f"{block}: {what}={values!r} must be a list of positive integers; one for each input map")


def check_divides(block: str, by: str, divisor: int, what: str, value: int) -> None:
    """Raise ValueError unless ``divisor`` divides ``value``, naming the divisors that do."""
    if value % divisor:
        fits = [d for d in range(1, value + 1) if value % d == 0]
        raise ValueError(f"{block}: {by}={divisor} must divide {what}={value}; divisors of {value}: {fits}")


def check_choice(block: str, what: str, value: object, choices: Sequence[str]) -> None:
    """Raise ValueError unless ``value`` is one of ``choices``, of which the first is the default."""
    if not isinstance(value, str) or value not in choices:
        hint = nearest(str(value), choices).strip() or f"the default is {choices[0]!r}"
        raise ValueError(f"{block}: {what}={value!r} must be one of {', '.join(map(repr, choices))}; {hint}")


def check_bool(block: str, what: str, value: object, default: bool = False) -> None:
    """Raise ValueError unless ``value`` is a bool."""
    if not isinstance(value, bool):
        raise ValueError(f"{block}: {what}={value!r} must be true or false; the default is {str(default).lower()}")


def at_least_float32(x: torch.Tensor) -> torch.Tensor:
    """Return ``x`` in float32, or as it is where it has float64."""
    return x if x.dtype == torch.float64 else x.float()


def in_float32(layer: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Apply ``layer`` in float32 at least, under autocast and with the weights of a half precision model too.

    Only a model that is itself trained in half precision keeps it: its batch norms write statistics in that dtype.

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
        assert isinstance(layer, _BatchNorm), f"in_float32 knows no {type(layer).__name__}"
        return F.batch_norm(x, w["running_mean"], w["running_var"], weight, bias, False, 0.0, layer.eps)


def batch_norm(norm: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Apply ``norm`` to ``x``, ``(B, C, ...)``; where training sees one value per channel, by its running statistics.

    One value has no variance: torch raises there, and a model with such a layer cannot train with batch 1, nor be built
    by Ultralytics 8.3.0, which finds the strides with one image in train mode. The running statistics stay as they are.
    """
    if norm.training and isinstance(norm, _BatchNorm) and x.shape[0] * x[0, 0].numel() == 1:
        return F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias, False, 0.0, norm.eps)
    y: torch.Tensor = norm(x)
    return y


def mean_in_float32(x: torch.Tensor, over: int | tuple[int, int]) -> torch.Tensor:
    """Return the mean in float32 at least, without a copy of ``x`` in it."""
    return x.mean(over, keepdim=True, dtype=torch.float64 if x.dtype == torch.float64 else torch.float32)


def averaging_matrix(size: int, wanted: int, overlap: bool, like: torch.Tensor) -> torch.Tensor:
    """Return the matrix, ``(wanted, size)``, that makes ``wanted`` averages of ``size`` neighbours in a row.

    Average k starts at floor(k * size / wanted) and ends before ceil((k + 1) * size / wanted), as adaptive average
    pooling has it; without ``overlap`` before the next one's start, or one further where that would be none.
    """
    k = torch.arange(wanted, device=like.device).unsqueeze(1)
    n = torch.arange(size, device=like.device)
    first = k * size // wanted
    last = ((k + 1) * size + wanted - 1) // wanted if overlap else torch.maximum(first + 1, (k + 1) * size // wanted)
    inside = ((n >= first) & (n < last)).to(like.dtype)
    return inside / inside.sum(1, keepdim=True)


def resize_by_mean(x: torch.Tensor, height: int, width: int, overlap: bool) -> torch.Tensor:
    """Average ``x``, ``(B, C, H, W)``, to ``(B, C, height, width)``; repeat its values where that is larger."""
    H, W = x.shape[2:]
    x = torch.matmul(x, averaging_matrix(W, width, overlap, x).transpose(0, 1))  # B C H width
    return torch.matmul(averaging_matrix(H, height, overlap, x), x)  # B C height width


def resize_by_max(x: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """Bring the positions of ``x`` to ``size``: max pooling where it is larger, nearest neighbour where smaller."""
    small = [min(a, b) for a, b in zip(x.shape[2:], size, strict=True)]
    ratio = [a // b for a, b in zip(x.shape[2:], small, strict=True)]
    if list(x.shape[2:]) == [r * b for r, b in zip(ratio, small, strict=True)]:
        if max(ratio) > 1:  # whole multiples: kernel = stride, which every exporter knows
            x = max_pool(x, ratio)
    elif x.ndim == 4:
        x = F.adaptive_max_pool2d(x, small)
    else:
        x = F.adaptive_max_pool3d(x, small)
    return x if list(x.shape[2:]) == list(size) else F.interpolate(x, size=list(size), mode="nearest")


def max_pool(x: torch.Tensor, kernel: Sequence[int]) -> torch.Tensor:
    """Max pooling of a 2d or 3d map, stride = ``kernel``."""
    kernel = [int(k) for k in kernel]  # traced sizes are tensors
    return F.max_pool2d(x, kernel) if x.ndim == 4 else F.max_pool3d(x, kernel)


def building_graph() -> bool:
    """Tell whether a graph is being made. Exporters do not know how to recompute: it holds the plain operations."""
    tracing: bool = torch.jit.is_tracing()  # type: ignore[attr-defined,no-untyped-call]
    return tracing or torch.compiler.is_compiling()


def recompute_in_backward(
    part: Callable[..., tuple[torch.Tensor, ...]], *args: torch.Tensor
) -> tuple[torch.Tensor, ...]:
    """Return ``part(*args)``; where gradients are needed, compute it again in the backward pass."""
    if torch.is_grad_enabled() and any(a.requires_grad for a in args) and not building_graph():
        out: tuple[torch.Tensor, ...] = checkpoint(part, *args, use_reentrant=False, preserve_rng_state=False)
        return out
    return part(*args)
