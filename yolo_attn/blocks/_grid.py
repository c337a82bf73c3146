"""Maps to a grid of cells and back, for sizes that are no multiples of each other, from operations that export.

``adaptive_avg_pool2d`` does not reach ONNX without dynamo unless the sizes divide; a product with a matrix does.
"""

from __future__ import annotations

import torch


def averages(size: int, wanted: int, overlap: bool, like: torch.Tensor) -> torch.Tensor:
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


def resample(x: torch.Tensor, height: int, width: int, overlap: bool) -> torch.Tensor:
    """Average ``x``, ``(B, C, H, W)``, to ``(B, C, height, width)``; repeat its values where that is larger."""
    H, W = x.shape[2:]
    x = torch.matmul(x, averages(W, width, overlap, x).transpose(0, 1))  # B C H width
    return torch.matmul(averages(H, height, overlap, x), x)  # B C height width
