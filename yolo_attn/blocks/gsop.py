"""GSoP: global second-order pooling over channels, positions or both. Checked against figures of the authors' code."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from ..registry import register
from .functional import at_least_float32, batch_norm, check_choice, check_positive, in_float32, resize_by_mean
from .nn.residual import apply_residual, make_residual

MODES = ("channel", "position", "sum", "max", "concat")
ROW_ACTIVATIONS = ("authors", "none", "relu", "leaky_relu")
LEAK = 0.1  # slope of the paper's LeakyReLU


def covariance(x: torch.Tensor) -> torch.Tensor:
    """Return the covariance of the rows of ``x``, ``(B, D, N)`` to ``(B, D, D)``, in float32 at least.

    The rows are centred by subtracting their means: memory grows with N, not with N * N as with a centring matrix.
    Half precision, chosen or through autocast, rounds variances below zero.
    """
    with torch.autocast(x.device.type, enabled=False):
        x = at_least_float32(x)
        x = x - x.mean(2, keepdim=True)
        return torch.matmul(x, x.transpose(1, 2)) / x.shape[2]


def authors_position_covariance(x: torch.Tensor) -> torch.Tensor:
    """Return what the authors compute in place of ``covariance(x)``, ``(B, N, D)`` to ``(B, N, N)``.

    Their sums over the D channels are divided by the number of cells N, in the mean too; right only for D = N.
    """
    with torch.autocast(x.device.type, enabled=False):
        x = at_least_float32(x)
        N = x.shape[1]
        total = x.sum(2, keepdim=True)  # B N 1
        return torch.matmul(x, x.transpose(1, 2)) / N - torch.matmul(total, total.transpose(1, 2)) / (N * N)


def join_shape(channels: int) -> tuple[int, int]:
    """Return groups and kernel height of the two convolutions of mode concat.

    The authors: ``channels / 64`` groups and a height of ``2 * log2(32 / groups) + 5``, both rounded down. Here groups
    are at least 1 and divide the channels, and the height is at least 5.
    """
    groups = max(1, channels // 64)
    while channels % groups:
        groups -= 1
    return groups, 2 * max(0, 5 - (groups - 1).bit_length()) + 5


@register(
    "GSoP",
    summary="Gate channels by their covariance.",
    paper="https://arxiv.org/abs/1811.12006",
    checked=("authors", "loop"),
)
class GSoP(nn.Module):
    """Gate channels, positions or both by how they vary together over the whole map.

    Gao et al., "Global Second-order Pooling Convolutional Networks", CVPR 2019, https://arxiv.org/abs/1811.12006,
    the GSoP block. Channel-wise: ``z = relu(BN(W1 relu(x)))``, ``S = cov(z)`` over the N positions,
    ``c = sigmoid(W3 f(W2 BN(S)))``, ``y = x * c``. Position-wise, with layers of its own: ``z = pool(BN(W1 relu(x)))``
    on a grid of cells, ``S = cov(z)`` of the cells over the channels, ``p = unpool(sigmoid(W3 f(W2 BN(S))))``,
    ``y = relu(x * p)``. Both: ``x * c + relu(x * p)``, ``max(x * c, relu(x * p))`` or
    ``BN(Wc (x * c) + Wp relu(x * p))``. ``W1`` is ``reduce``; ``W2``, ``rows``, is the row-wise convolution: each row
    of S is weighted into 4 numbers of its own; ``W3`` is ``expand``; ``Wc`` and ``Wp`` are ``join_*``.

    Shape:
        x: ``(B, C, H, W)``, C = ``channels``; any H, W >= 1, smaller than the grid too.
        returns: ``(B, C, H, W)``, same dtype and device.

    Args:
        channels: C.
        reduced_channels: c of the paper, the channels behind ``W1`` (their default 128): the side of the covariance
            matrix of the channels, and the number of values in one of two cells.
        reduction_stride: Stride of the channel form's 1x1 reduction. The authors take 2 on their largest maps and 1
            elsewhere. The position form has none.
        mode: ``"channel"`` or ``"position"``, one gate (the default is the authors' too); ``"sum"`` (which they call
            average), ``"max"`` or ``"concat"``, both gates from the same x and one of their three fusions.
        grid: Cells along each side of the map in the position form (theirs: 8). No effect in mode channel.
        row_activation: f, between the row-wise convolution and the last one. ``"authors"``: none in the channel form
            and a ReLU in the position form, as in their code; ``"leaky_relu"``, the paper's, slope 0.1; ``"relu"``;
            ``"none"``.
        position_covariance: ``"exact"``, or ``"authors"`` to divide by the number of cells in place of the number of
            channels (needed for their weights unless ``reduced_channels`` is ``grid * grid``).
        unpool: How a position gets its gate from the grid: ``"nearest"``, that of the cell it lies in (where the map
            is smaller than the grid, the mean of the cells that lie in it), or ``"authors"``, adaptive average pooling.
        residual: Start as the identity: ``x + gamma * (GSoP(x) - x)``, gamma per channel, 0 at first.

    Raises:
        ValueError: If one of the numbers is not a positive integer, one of the words is none of those above, or
            ``residual`` is not a bool.

    Deviations from the paper:
        1. As in the authors' code, the input goes through a ReLU before the reduction, and no activation stands
           between the row-wise convolution and the last one of the channel form (``row_activation``).
        2. As in the authors' code, what the position gate scaled goes through a ReLU: negative values end there.

    Deviations from the authors' code (ZilinGao/Global-Second-order-Pooling-Convolutional-Networks@662a6996):
        1. The map is centred by its mean, not by an N x N matrix (164 MB a sample at 80 x 80): equal up to the
           rounding of that matrix, which is float32 there.
        2. The covariance, and what makes the gate from it, is computed in float32 also under autocast and in a half
           precision model.
        3. A module of its own; theirs is written into a ResNet bottleneck, which adds and rectifies after it.
        4. The covariance of the cells is one: sums over the channels, divided by their number. Theirs divides by the
           number of cells, 64, in the mean too, so that it is neither scaled nor centred right unless
           ``reduced_channels`` is 64. ``position_covariance: authors`` gives theirs.
        5. The gate of the cells is interpolated to the map. Theirs is average-pooled "up", which mixes neighbours
           where sizes are no whole multiples of each other, and does not export there; equal where they are.
           ``unpool: authors`` gives theirs for every size.
        6. Mode concat runs for every number of channels: one group below 64 channels (theirs fails), the next smaller
           number of groups that divides the channels where theirs does not, and kernels of at least 5.

    Limits:
        1. Where training sees one value per channel (batch 1 and a 1x1 map after the reduction), batch norms use their
           running statistics.
        2. On a 1x1 map the covariance of the channels is zero: their gate is then constant in eval mode. That of the
           cells has one value throughout.
        3. Ultralytics gives every batch norm of a model eps 1e-3. The rows of a fresh covariance vary by about as much,
           so in a YOLO ``row_bn`` starts out weaker than the authors' (1e-5).
        4. The covariance of the cells has ``grid ** 4`` entries a sample, whatever the size of the map, and its
           row-wise convolution four times as many weights: a grid of twice the side takes 16 times as much.
        5. Modes position and max put out no negative value; sum and concat pass them on by the channel gate only.
        6. The convolutions of mode concat reach along the height only, as theirs.
    """

    def __init__(
        self,
        channels: int,
        reduced_channels: int = 128,
        reduction_stride: int = 1,
        mode: str = "channel",
        grid: int = 8,
        row_activation: str = "authors",
        position_covariance: str = "exact",
        unpool: str = "nearest",
        residual: bool = False,
    ) -> None:
        super().__init__()
        block = type(self).__name__
        check_positive(block, "channels", channels)
        check_positive(block, "reduced_channels", reduced_channels)
        check_positive(block, "reduction_stride", reduction_stride)
        check_positive(block, "grid", grid)
        check_choice(block, "mode", mode, MODES)
        check_choice(block, "row_activation", row_activation, ROW_ACTIVATIONS)
        check_choice(block, "position_covariance", position_covariance, ("exact", "authors"))
        check_choice(block, "unpool", unpool, ("nearest", "authors"))
        self.mode = mode
        self.grid = grid
        self.row_activation = row_activation
        self.exact_covariance = position_covariance == "exact"
        self.overlapping_cells = unpool == "authors"
        D = reduced_channels
        if mode != "position":
            self.reduce = nn.Conv2d(channels, D, 1, stride=reduction_stride)
            self.reduce_bn = nn.BatchNorm2d(D)
            self.row_bn = nn.BatchNorm2d(D)
            self.rows = nn.Conv2d(D, 4 * D, kernel_size=(D, 1), groups=D)
            self.expand = nn.Conv2d(4 * D, channels, 1)
        if mode != "channel":
            cells = grid * grid
            self.position_reduce = nn.Conv2d(channels, D, 1)
            self.position_reduce_bn = nn.BatchNorm2d(D)
            self.position_row_bn = nn.BatchNorm2d(cells)
            self.position_rows = nn.Conv2d(cells, 4 * cells, kernel_size=(cells, 1), groups=cells)
            self.position_expand = nn.Conv2d(4 * cells, cells, 1)
        if mode == "concat":
            groups, height = join_shape(channels)
            padding = (height // 2, 0)
            self.join_channel = nn.Conv2d(channels, channels, (height, 1), padding=padding, groups=groups)
            self.join_position = nn.Conv2d(channels, channels, (height, 1), padding=padding, groups=groups)
            self.join_bn = nn.BatchNorm2d(channels)
        self.residual = make_residual(channels, residual, block)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``x`` scaled by its gates."""
        rectified = x.relu()
        by_channel = x if self.mode == "position" else x * self._channel_gate(rectified).to(x.dtype)
        if self.mode == "channel":
            return apply_residual(self.residual, x, by_channel)
        by_position = (x * self._position_gate(rectified).to(x.dtype)).relu()
        if self.mode == "position":
            y = by_position
        elif self.mode == "sum":
            y = by_channel + by_position
        elif self.mode == "max":
            y = torch.maximum(by_channel, by_position)
        else:
            y = batch_norm(self.join_bn, self.join_channel(by_channel) + self.join_position(by_position))
        return apply_residual(self.residual, x, y)

    def _channel_gate(self, x: torch.Tensor) -> torch.Tensor:
        z = batch_norm(self.reduce_bn, self.reduce(x)).relu()  # B D H/s W/s
        s = in_float32(self.row_bn, covariance(z.flatten(2)).unsqueeze(3))  # B D D 1
        rows = self._activated(in_float32(self.rows, s), "none")  # B 4D 1 1
        return in_float32(self.expand, rows).sigmoid()  # B C 1 1

    def _position_gate(self, x: torch.Tensor) -> torch.Tensor:
        z = batch_norm(self.position_reduce_bn, self.position_reduce(x))  # B D H W
        with torch.autocast(x.device.type, enabled=False):
            cells = resize_by_mean(at_least_float32(z), self.grid, self.grid, overlap=True)  # B D g g
            cells = cells.flatten(2).transpose(1, 2)  # B gg D
            s = covariance(cells) if self.exact_covariance else authors_position_covariance(cells)
            s = in_float32(self.position_row_bn, s.unsqueeze(3))  # B gg gg 1
            rows = self._activated(in_float32(self.position_rows, s), "relu")  # B 4gg 1 1
            gate = in_float32(self.position_expand, rows).sigmoid().reshape(-1, 1, self.grid, self.grid)
            return resize_by_mean(gate, x.shape[2], x.shape[3], self.overlapping_cells)  # B 1 H W

    def _activated(self, x: torch.Tensor, authors: str) -> torch.Tensor:
        name = authors if self.row_activation == "authors" else self.row_activation
        if name == "leaky_relu":
            return F.leaky_relu(x, LEAK)
        return x.relu() if name == "relu" else x


class GSopBlock(GSoP):
    """GSoP under the name and with the argument names that are common for it; see :class:`GSoP`.

    https://arxiv.org/abs/1811.12006

    Shape:
        x: ``(B, C, H, W)``, C = ``in_channels``; any H, W >= 1.
        returns: ``(B, C, H, W)``, same dtype and device.

    Args:
        in_channels: C.
        mid_channels: c of the paper, the channels behind the reduction.
        options: The other options of :class:`GSoP`, by name.

    Raises:
        ValueError: Where :class:`GSoP` does.

    Deviations from the paper, from the authors' code: those of :class:`GSoP`.

    Limits: those of :class:`GSoP`.
    """

    def __init__(self, in_channels: int, mid_channels: int = 128, **options: Any) -> None:
        check_positive("GSopBlock", "in_channels", in_channels)
        check_positive("GSopBlock", "mid_channels", mid_channels)
        super().__init__(in_channels, mid_channels, **options)
