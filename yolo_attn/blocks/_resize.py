"""Maps of several scales to one size."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F


def resize(x: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
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
