"""The two nested attentions of PMFS, as parts of a layer: over channels, then over positions.

They are not submodules: the parameters have the same names in PMFS and in the layers of one attention only.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from ..functional import at_least_float32, in_float32

Convolution = Callable[[int, int, int], nn.Module]  # input channels, output channels, side of the kernel


class PolarizedChannelAttention(nn.Module):
    """A gate for each channel, from what every channel is over all positions."""

    channel_q: nn.Module
    channel_k: nn.Module | None
    channel_v: nn.Module
    channel_score: nn.Module
    channel_norm: nn.Module
    channel_variance: nn.Module | None

    def add_channel_attention(self, width: int, convolution: Convolution, statistics: str) -> None:
        """Add the layers for maps of ``width`` channels."""
        self.channel_q = convolution(width, width, 1)
        self.channel_k = convolution(width, 1, 1) if statistics == "softmax" else None
        self.channel_v = convolution(width, width, 1)
        self.channel_score = nn.Linear(width, width)
        self.channel_variance = nn.Linear(width, width, bias=False) if statistics == "mean_var" else None
        self.channel_norm = nn.LayerNorm(width)

    def attend_channels(self, x: torch.Tensor) -> torch.Tensor:
        """Return the values of ``x``, each channel scaled."""
        q = self.channel_q(x).flatten(2)  # B D N
        if self.channel_k is not None:
            k = self.channel_k(x).flatten(1).softmax(1)  # B N
            score = in_float32(self.channel_score, torch.matmul(q, k.unsqueeze(2)).squeeze(2))  # B D
        else:
            assert self.channel_variance is not None, "the layers are those of one kind of statistics"
            mean, variance = mean_and_variance(q)  # B D, B D
            score = in_float32(self.channel_score, mean) + in_float32(self.channel_variance, variance)
        score = in_float32(self.channel_norm, score).sigmoid().to(q.dtype)
        y: torch.Tensor = self.channel_v(x) * score.reshape(*score.shape, *[1] * (x.ndim - 2))  # B D H W
        return y


class PolarizedPositionAttention(nn.Module):
    """A gate for each position and group of channels."""

    groups: int
    spatial_q: nn.Module
    spatial_k: nn.Module
    spatial_v: nn.Module
    spatial_out: nn.Module

    def add_position_attention(self, width: int, ch_k: int, ch_v: int, br: int, convolution: Convolution) -> None:
        """Add the layers for maps of ``width`` channels and ``br`` groups."""
        self.groups = br
        self.spatial_q = convolution(width, br * ch_k, 1)
        self.spatial_k = convolution(width, br * ch_k, 1)
        self.spatial_v = convolution(width, br * ch_v, 1)
        self.spatial_out = convolution(br * ch_v, width, 1)

    def attend_positions(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``x`` made anew from its values, each position scaled group by group."""
        q, k, v = (self._grouped(f(x)) for f in (self.spatial_q, self.spatial_k, self.spatial_v))
        k = k.mean((1, 3)).softmax(1)  # B ch_k
        score = torch.einsum("bk,bgkn->bgn", k, q).sigmoid().to(v.dtype)  # B br N
        v = (v * score.unsqueeze(2)).reshape(x.shape[0], -1, *x.shape[2:])  # B br*ch_v H W
        y: torch.Tensor = self.spatial_out(v)  # B D H W
        return y

    def _grouped(self, x: torch.Tensor) -> torch.Tensor:
        x = x.flatten(2)
        return x.reshape(x.shape[0], self.groups, x.shape[1] // self.groups, x.shape[2])  # B br ch N


def mean_and_variance(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return both over the last axis, in float32 at least: a square of half precision is at most 65504."""
    with torch.autocast(x.device.type, enabled=False):
        x = at_least_float32(x)
        mean = x.mean(-1, keepdim=True)
        return mean.squeeze(-1), (x - mean).square().mean(-1)
