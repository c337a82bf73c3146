"""GSoP: global second-order pooling of channels, positions or both. Checked against outputs of the authors' code."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..registry import register
from .functional import (
    at_least_float32,
    batch_norm,
    check_choice,
    check_positive,
    check_used,
    in_float32,
    resize_by_mean,
)
from .nn.residual import apply_residual, make_residual

MODES = ("channel", "position", "sum", "max", "concat")
ROW_ACTIVATIONS = ("authors", "none", "relu", "leaky_relu")
LEAK = 0.1  # slope of the paper's LeakyReLU
NEEDS = {
    "reduction_stride": ("mode", ("channel", "sum", "max", "concat")),
    **dict.fromkeys(("grid", "position_covariance", "unpool"), ("mode", ("position", "sum", "max", "concat"))),
}


def covariance(x: Tensor) -> Tensor:
    """Return the covariance of the rows of ``x``, ``(B, D, N)`` to ``(B, D, D)``, in float32 or float64.

    The rows are centered by subtracting their means, so memory grows with N; a centering matrix has N * N entries.
    Half precision, also through autocast, would round variances below zero.
    """
    with torch.autocast(x.device.type, enabled=False):
        x = at_least_float32(x)
        x = x - x.mean(2, keepdim=True)
        return torch.matmul(x, x.transpose(1, 2)) / x.shape[2]


def authors_position_covariance(x: Tensor) -> Tensor:
    """Return what the authors compute instead of ``covariance(x)``, ``(B, N, D)`` to ``(B, N, N)``.

    They divide sums over the D channels by the number of cells N, also in the mean; correct only for D = N.
    """
    with torch.autocast(x.device.type, enabled=False):
        x = at_least_float32(x)
        N = x.shape[1]
        total = x.sum(2, keepdim=True)  # B N 1
        return torch.matmul(x, x.transpose(1, 2)) / N - torch.matmul(total, total.transpose(1, 2)) / (N * N)


def join_shape(channels: int) -> tuple[int, int]:
    """Return groups and kernel height of the two convolutions of mode concat.

    The authors use ``channels / 64`` groups and a height of ``2 * log2(32 / groups) + 5``, both rounded down. Here
    there is at least one group, groups divide the channels, and the height is at least 5.
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
    """Gate channels, positions or both by their covariance over the whole map.

    Gao et al., "Global Second-order Pooling Convolutional Networks", CVPR 2019, https://arxiv.org/abs/1811.12006,
    the GSoP block. Channel form: ``z = relu(BN(W1 relu(x)))``, ``S = cov(z)`` over the N positions,
    ``c = sigmoid(W3 f(W2 BN(S)))``, ``y = x * c``. Position form, with separate layers: ``z = pool(BN(W1 relu(x)))``
    on a grid of cells, ``S = cov(z)`` of the cells over the channels, ``p = unpool(sigmoid(W3 f(W2 BN(S))))``,
    ``y = relu(x * p)``. Both: ``x * c + relu(x * p)``, ``max(x * c, relu(x * p))`` or
    ``BN(Wc (x * c) + Wp relu(x * p))``. ``W1`` is ``reduce``; ``W2``, ``rows``, is the row-wise convolution, which maps
    each row of S to 4 numbers; ``W3`` is ``expand``; ``Wc`` and ``Wp`` are ``join_*``.

    Shape:
        x: ``(B, C, H, W)``, C = ``channels``; any H, W >= 1, also smaller than the grid.
        returns: ``(B, C, H, W)``, same dtype and device.

    Args:
        channels: C.
        reduced_channels: c of the paper, the channels after ``W1`` (their default 128): the side of the covariance
            matrix of the channels, and the number of values per cell.
        reduction_stride: Stride of the channel form's 1x1 reduction. The authors use 2 on their largest maps and 1
            elsewhere. Not in mode position, whose reduction has no stride.
        mode: ``"channel"`` or ``"position"``, one gate (default as in the authors' code); ``"sum"`` (theirs: average),
            ``"max"`` or ``"concat"``, both gates from the same x and one of their three fusions.
        grid: Cells along each side of the map in the position form (theirs: 8). Not in mode channel.
        row_activation: f, between the row-wise convolution and the last one. ``"authors"``, as in their code: none in
            the channel form and a ReLU in the position form; ``"leaky_relu"``, the paper's, slope 0.1; ``"relu"``;
            ``"none"``.
        position_covariance: ``"exact"``, or ``"authors"`` to divide by the number of cells instead of the number of
            channels. Their weights need it unless ``reduced_channels`` is ``grid * grid``. Not in mode channel.
        unpool: How a position gets its gate from the grid: ``"nearest"``, from its cell (on maps smaller than the grid,
            the mean of the cells at that position), or ``"authors"``, adaptive average pooling. Not in mode channel.
        residual: Start as the identity: ``x + gamma * (GSoP(x) - x)``, gamma per channel, 0 at the start.

    Raises:
        ValueError: If a number is not a positive integer, a choice is unknown, an option has no effect in the ``mode``,
            or ``residual`` is not a bool.

    Deviations from the paper:
        1. As in the authors' code, a ReLU precedes the reduction, and the channel form has no activation between the
           row-wise convolution and the last one (``row_activation``).
        2. As in the authors' code, a ReLU follows the position gate and removes negative values.

    Deviations from the authors' code (ZilinGao/Global-Second-order-Pooling-Convolutional-Networks@662a6996):
        1. The map is centered by its mean, not by an N x N matrix (164 MB per sample at 80 x 80). Equal up to the
           rounding of that matrix, which is float32 there.
        2. The covariance and the layers after it run in float32 also under autocast and in a half precision model.
        3. A module of its own; theirs is part of a ResNet bottleneck, which adds and rectifies after it.
        4. Sums over the channels are divided by the number of channels. Theirs are divided by the number of cells, 64,
           also in the mean, so their covariance is correct only if ``reduced_channels`` is 64.
           ``position_covariance: authors`` gives theirs.
        5. The gates of the cells are repeated over the map. Theirs are average-pooled "up", which mixes neighbours at
           sizes that are no whole multiples of each other, and does not export there; equal at whole multiples.
           ``unpool: authors`` gives theirs for every size.
        6. Mode concat works for every number of channels: one group below 64 channels, where theirs fails; otherwise
           the next smaller number of groups that divides the channels; and kernels of at least 5.

    Limits:
        1. If training sees one value per channel (batch 1 and a 1x1 map after the reduction), batch norms use their
           running statistics.
        2. On a 1x1 map the covariance of the channels is zero, so their gate is constant in eval mode. That of the
           cells has the same value everywhere.
        3. Ultralytics sets eps to 1e-3 in every batch norm of a model. The rows of a fresh covariance vary about as
           much, so ``row_bn`` starts weaker in a YOLO than in the authors' code (1e-5).
        4. The covariance of the cells has ``grid ** 4`` entries per sample, whatever the size of the map, and its
           row-wise convolution four times as many weights: a grid of twice the side needs 16 times as much.
        5. Modes position and max return no negative value; sum and concat pass negative values through the channel gate
           only.
        6. The convolutions of mode concat reach along the height only, as in the authors' code.
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
        check_positive(block, channels=channels, reduced_channels=reduced_channels)
        check_positive(block, reduction_stride=reduction_stride, grid=grid)
        check_choice(block, "mode", mode, MODES)
        check_choice(block, "row_activation", row_activation, ROW_ACTIVATIONS)
        check_choice(block, "position_covariance", position_covariance, ("exact", "authors"))
        check_choice(block, "unpool", unpool, ("nearest", "authors"))
        options = {"grid": grid, "position_covariance": position_covariance, "unpool": unpool}
        check_used(GSoP, NEEDS, mode=mode, reduction_stride=reduction_stride, **options)
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

    def forward(self, x: Tensor) -> Tensor:
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

    def _channel_gate(self, x: Tensor) -> Tensor:
        z = batch_norm(self.reduce_bn, self.reduce(x)).relu()  # B D H/s W/s
        s = in_float32(self.row_bn, covariance(z.flatten(2)).unsqueeze(3))  # B D D 1
        rows = self._activated(in_float32(self.rows, s), "none")  # B 4D 1 1
        return in_float32(self.expand, rows).sigmoid()  # B C 1 1

    def _position_gate(self, x: Tensor) -> Tensor:
        z = batch_norm(self.position_reduce_bn, self.position_reduce(x))  # B D H W
        with torch.autocast(x.device.type, enabled=False):
            cells = resize_by_mean(at_least_float32(z), self.grid, self.grid, overlap=True)  # B D g g
            cells = cells.flatten(2).transpose(1, 2)  # B gg D
            s = covariance(cells) if self.exact_covariance else authors_position_covariance(cells)
            s = in_float32(self.position_row_bn, s.unsqueeze(3))  # B gg gg 1
            rows = self._activated(in_float32(self.position_rows, s), "relu")  # B 4gg 1 1
            gate = in_float32(self.position_expand, rows).sigmoid().reshape(-1, 1, self.grid, self.grid)
            return resize_by_mean(gate, x.shape[2], x.shape[3], self.overlapping_cells)  # B 1 H W

    def _activated(self, x: Tensor, authors: str) -> Tensor:
        name = authors if self.row_activation == "authors" else self.row_activation
        if name == "leaky_relu":
            return F.leaky_relu(x, LEAK)
        return x.relu() if name == "relu" else x


class GSopBlock(GSoP):
    """Build :class:`GSoP` with the class name and argument names that are common for it.

    Args:
        in_channels: C.
        mid_channels: c of the paper, the channels after the reduction.
        options: The other options of :class:`GSoP`, by name.
    """

    def __init__(self, in_channels: int, mid_channels: int = 128, **options: Any) -> None:
        check_positive("GSopBlock", in_channels=in_channels, mid_channels=mid_channels)
        super().__init__(in_channels, mid_channels, **options)
