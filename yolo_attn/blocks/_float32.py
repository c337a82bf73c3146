"""Parts of a block that half precision would overflow or round away, computed in float32."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ._norms import batch_norm


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
