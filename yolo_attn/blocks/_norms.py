"""Batch norm that also trains on one value."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def batch_norm(norm: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Apply ``norm`` to ``x``, ``(B, C, ...)``; where training sees one value per channel, by its running statistics.

    One value has no variance: torch raises there, and a model with such a layer cannot train with batch 1, nor be built
    by Ultralytics 8.3.0, which finds the strides with one image in train mode. The running statistics stay as they are.
    """
    if norm.training and isinstance(norm, _BatchNorm) and x.shape[0] * x[0, 0].numel() == 1:
        return F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias, False, 0.0, norm.eps)
    y: torch.Tensor = norm(x)
    return y
