"""The two attentions of PMFS: over channels, then over positions.

Blocks inherit from them instead of holding them as submodules: parameters have the same names in PMFS as in PMFSChannel
and PMFSSpatial.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..functional import at_least_float32, in_float32

MakeConvolution = Callable[[int, int, int], nn.Module]  # input channels, output channels, kernel size


class PolarizedChannelAttention(nn.Module):
    """Gate each channel by a score from all positions."""

    def add_channel_attention(self, width: int, convolution: MakeConvolution, statistics: str) -> None:
        """Add the layers for maps of ``width`` channels."""
        self.channel_q = convolution(width, width, 1)
        self.channel_k = convolution(width, 1, 1) if statistics == "softmax" else None
        self.channel_v = convolution(width, width, 1)
        self.channel_score = nn.Linear(width, width)
        self.channel_variance = nn.Linear(width, width, bias=False) if statistics == "mean_var" else None
        self.channel_norm = nn.LayerNorm(width)

    def attend_channels(self, x: Tensor) -> Tensor:
        """Return the values of ``x``, each channel gated."""
        q = self.channel_q(x).flatten(2)  # B D N
        if self.channel_k is not None:
            k = self.channel_k(x).flatten(1).softmax(1)  # B N
            score = in_float32(self.channel_score, torch.matmul(q, k.unsqueeze(2)).squeeze(2))  # B D
        else:
            assert self.channel_variance is not None, "statistics is either softmax or mean_var"
            values = at_least_float32(q)  # squares overflow float16
            mean = values.mean(2, keepdim=True)  # B D 1
            variance = (values - mean).square().mean(2)  # B D
            score = in_float32(self.channel_score, mean.squeeze(2)) + in_float32(self.channel_variance, variance)
        score = in_float32(self.channel_norm, score).sigmoid().to(q.dtype)
        return self.channel_v(x) * score.reshape(*score.shape, *[1] * (x.ndim - 2))  # B D H W


class PolarizedPositionAttention(nn.Module):
    """Gate each position of each group of channels."""

    def add_position_attention(self, width: int, ch_k: int, ch_v: int, br: int, convolution: MakeConvolution) -> None:
        """Add the layers for maps of ``width`` channels and ``br`` groups."""
        self.groups = br
        self.spatial_q = convolution(width, br * ch_k, 1)
        self.spatial_k = convolution(width, br * ch_k, 1)
        self.spatial_v = convolution(width, br * ch_v, 1)
        self.spatial_out = convolution(br * ch_v, width, 1)

    def attend_positions(self, x: Tensor) -> Tensor:
        """Return a map made from the values of ``x``, each position gated group by group."""
        maps = (f(x).flatten(2) for f in (self.spatial_q, self.spatial_k, self.spatial_v))
        q, k, v = (m.reshape(m.shape[0], self.groups, -1, m.shape[2]) for m in maps)  # B br ch N
        k = k.mean((1, 3)).softmax(1)  # B ch_k
        score = torch.einsum("bk,bgkn->bgn", k, q).sigmoid().to(v.dtype)  # B br N
        v = (v * score.unsqueeze(2)).reshape(x.shape[0], -1, *x.shape[2:])  # B br*ch_v H W
        return self.spatial_out(v)  # B D H W
