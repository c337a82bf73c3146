"""PMFS: polarized multi-scale feature self-attention over a list of maps. Checked against the authors' figures."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from ..registry import register
from ._checks import check_positive, check_positives


class SeparableConv(nn.Module):
    """Batch norm, ReLU, depthwise convolution, pointwise convolution; same height and width.

    Args:
        c1: Input channels.
        c2: Output channels.
        kernel: Side of the depthwise kernel, odd.
        dim: ``"2d"`` or ``"3d"``.
    """

    def __init__(self, c1: int, c2: int, kernel: int, dim: str) -> None:
        super().__init__()
        norm, conv = (nn.BatchNorm2d, nn.Conv2d) if dim == "2d" else (nn.BatchNorm3d, nn.Conv3d)
        self.norm = norm(c1)
        self.depthwise = conv(c1, c1, kernel, padding=kernel // 2, groups=c1, bias=False)
        self.pointwise = conv(c1, c2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``x`` with ``c2`` channels."""
        y: torch.Tensor = self.pointwise(self.depthwise(self.norm(x).relu()))
        return y


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


@register("PMFS", paper="https://arxiv.org/abs/2401.07579", inputs="list")
class PMFS(nn.Module):
    """Bring maps of several scales to the last one's resolution and let channels, then positions, attend to them all.

    Zhong et al., "PMFSNet: Polarized Multi-scale Feature Self-attention Network For Lightweight Medical Image
    Segmentation", 2024, https://arxiv.org/abs/2401.07579, the PMFS block:
    ``x = concat(F_i(resize(x_i)))``; over channels ``v = V x * sigmoid(LN(W (Q x . softmax_N(K x))))``; over positions
    ``u_b = V_b v * sigmoid(softmax_k(mean_bN(K_b v)) . Q_b v)`` for each of ``br`` groups b; ``y = O2 O1 concat(u_b)``.
    ``F_i`` is ``branches[i]``; Q, K, V are ``channel_*`` and ``spatial_*``; W is ``channel_score``; ``O1`` is
    ``spatial_out`` and ``O2`` is ``out``. All but W and LN are separable convolutions.

    Shape:
        x: a list of ``(B, C_i, H_i, W_i)``, C_i = ``channels[i]``; any sizes, in any order of resolution. With
            ``dim="3d"`` each has a depth before H.
        returns: ``(B, C_n, H_n, W_n)``, the last input's; same dtype and device.

    Args:
        channels: C_i, one for each input map.
        ch: Channels of each branch.
        ch_k: Channels of a query or key in a spatial group (default ``ch``).
        ch_v: Channels of a value in a spatial group (default ``ch``).
        br: Groups of the attention over positions (default: one for each input map, as the paper has it).
        dim: ``"2d"`` or ``"3d"``.
        max_pool_kernels: Kernel (= stride) of a max pooling of each input that comes first; the output then has the
            last input's size after its own kernel. Default: none, each map is only brought to the last one's size.

    Raises:
        ValueError: If ``channels`` or ``max_pool_kernels`` is not a list of positive integers, they differ in length,
            another number is not a positive integer, ``dim`` is unknown, or ``forward`` gets another number of maps
            than was built for.

    Deviations from the paper: those from the authors' code; the order of operations is that code's.

    Deviations from the authors' code (yykzjh/PMFSNet@edad19a9, ``GlobalPMFSBlock_AP_Separate``):
        1. Without kernels a larger map is max-pooled to the last one's size (whole multiples: kernel = stride; others:
           adaptive pooling) and a smaller one repeated up to it. Theirs needs kernels that fit.
        2. ``br`` may differ from the number of inputs: the branches together have ``ch * len(channels)`` channels, not
           ``ch * br``. The same where the two are equal; theirs fails otherwise.
        3. ``ch_v`` may differ from ``ch_k``; theirs reshapes the values with ``ch_k`` and fails.

    Limits:
        1. Batch 1 in train mode needs a last map of more than one position, as batch norm does; the attention over
           channels then only scales what the next batch norm scales back, so it learns from batches of 2 and more.
        2. Sizes that are no whole multiples need adaptive pooling, which the ONNX exporter without dynamo lacks.
    """

    def __init__(
        self,
        channels: Sequence[int],
        ch: int = 64,
        ch_k: int | None = None,
        ch_v: int | None = None,
        br: int | None = None,
        dim: str = "2d",
        max_pool_kernels: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        block = type(self).__name__
        check_positives(block, "channels", channels)
        ch_k = ch if ch_k is None else ch_k
        ch_v = ch if ch_v is None else ch_v
        br = len(channels) if br is None else br
        for what, value in (("ch", ch), ("ch_k", ch_k), ("ch_v", ch_v), ("br", br)):
            check_positive(block, what, value)
        if dim not in ("2d", "3d"):
            raise ValueError(f"{block}: dim={dim!r} must be '2d' or '3d'; maps of a YOLO are '2d'")
        if max_pool_kernels is not None:
            check_positives(block, "max_pool_kernels", max_pool_kernels)
            if len(max_pool_kernels) != len(channels):
                raise ValueError(
                    f"{block}: max_pool_kernels={list(max_pool_kernels)} must have one kernel for each of the "
                    f"{len(channels)} inputs; without kernels maps are brought to the last one's size"
                )
        self.kernels = None if max_pool_kernels is None else tuple(max_pool_kernels)
        self.groups = br
        width = ch * len(channels)
        self.branches = nn.ModuleList(SeparableConv(c, ch, 3, dim) for c in channels)
        self.channel_q = SeparableConv(width, width, 1, dim)
        self.channel_k = SeparableConv(width, 1, 1, dim)
        self.channel_v = SeparableConv(width, width, 1, dim)
        self.channel_score = nn.Linear(width, width)
        self.channel_norm = nn.LayerNorm(width)
        self.spatial_q = SeparableConv(width, br * ch_k, 1, dim)
        self.spatial_k = SeparableConv(width, br * ch_k, 1, dim)
        self.spatial_v = SeparableConv(width, br * ch_v, 1, dim)
        self.spatial_out = SeparableConv(br * ch_v, width, 1, dim)
        self.out = SeparableConv(width, channels[-1], 3, dim)

    def forward(self, x: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return the last map, enriched by all of them."""
        maps = list(x)
        if isinstance(x, torch.Tensor) or len(maps) != len(self.branches):
            given = "one tensor" if isinstance(x, torch.Tensor) else f"{len(maps)} maps"
            raise ValueError(
                f"{type(self).__name__}: input={given} must be a list of {len(self.branches)}; "
                "in a model YAML, give 'from' as a list of layers"
            )
        if self.kernels is not None:
            maps = [max_pool(m, [k] * (m.ndim - 2)) for m, k in zip(maps, self.kernels, strict=True)]
        size = maps[-1].shape[2:]
        features = torch.cat([f(resize(m, size)) for f, m in zip(self.branches, maps, strict=True)], 1)  # B D H W
        y: torch.Tensor = self.out(self._attend_positions(self._attend_channels(features)))
        return y

    def _attend_channels(self, x: torch.Tensor) -> torch.Tensor:
        q = self.channel_q(x).flatten(2)  # B D N
        k = self.channel_k(x).flatten(1).softmax(1)  # B N
        score = torch.matmul(q, k.unsqueeze(2)).squeeze(2)  # B D
        score = self.channel_norm(self.channel_score(score)).sigmoid().to(q.dtype)
        y: torch.Tensor = self.channel_v(x) * score.reshape(*score.shape, *[1] * (x.ndim - 2))  # B D H W
        return y

    def _attend_positions(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = (self._grouped(f(x)) for f in (self.spatial_q, self.spatial_k, self.spatial_v))
        k = k.mean((1, 3)).softmax(1)  # B ch_k
        score = torch.einsum("bk,bgkn->bgn", k, q).sigmoid().to(v.dtype)  # B br N
        v = (v * score.unsqueeze(2)).reshape(x.shape[0], -1, *x.shape[2:])  # B br*ch_v H W
        y: torch.Tensor = self.spatial_out(v)  # B D H W
        return y

    def _grouped(self, x: torch.Tensor) -> torch.Tensor:
        x = x.flatten(2)
        return x.reshape(x.shape[0], self.groups, x.shape[1] // self.groups, x.shape[2])  # B br ch N


class GlobalPMFSBlock_AP_Separate(PMFS):  # noqa: N801  the authors' name
    """PMFS as the authors call it, or in a short form; see :class:`PMFS`.

    https://arxiv.org/abs/2401.07579

    The authors' form is ``(in_channels, max_pool_kernels, ch, ch_k, ch_v, br, dim)``. The short form is
    ``(in_channels, out_ch_base=..., ch_aggr=..., br=...)``: no kernels, and one width for branches, queries, keys and
    values.

    Shape:
        x: a list of ``(B, C_i, H_i, W_i)``, C_i = ``in_channels[i]``; with ``dim="3d"`` each has a depth before H.
        returns: ``(B, C_n, H_n, W_n)``, the last input's; same dtype and device.

    Args:
        in_channels: C_i, one for each input map.
        max_pool_kernels: Kernel (= stride) of the max pooling of each input.
        ch: Channels of each branch.
        ch_k: Channels of a query or key in a spatial group (default ``ch``).
        ch_v: Channels of a value in a spatial group (default ``ch``).
        br: Groups of the attention over positions (default: one for each input map).
        dim: ``"2d"`` or ``"3d"``; by default the authors' ``"3d"`` where ``max_pool_kernels`` are given, else ``"2d"``.
        out_ch_base: Output channels of the short form. They are the last input's, so this can only confirm them.
        ch_aggr: The short form's word for ``ch``.

    Raises:
        ValueError: Where :class:`PMFS` does, if both or neither of ``ch`` and ``ch_aggr`` are given, or if
            ``out_ch_base`` is not the last input's channels.

    Deviations from the paper, from the authors' code: those of :class:`PMFS`, and the short form.

    Limits: those of :class:`PMFS`.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        max_pool_kernels: Sequence[int] | None = None,
        ch: int | None = None,
        ch_k: int | None = None,
        ch_v: int | None = None,
        br: int | None = None,
        dim: str | None = None,
        *,
        out_ch_base: int | None = None,
        ch_aggr: int | None = None,
    ) -> None:
        block = "GlobalPMFSBlock_AP_Separate"
        check_positives(block, "in_channels", in_channels)
        width = ch if ch_aggr is None else ch_aggr
        if width is None or (ch is not None and ch_aggr is not None):
            raise ValueError(
                f"{block}: ch={ch}, ch_aggr={ch_aggr} must be one number; give ch (the authors' word) or ch_aggr"
            )
        if out_ch_base is not None and out_ch_base != in_channels[-1]:
            raise ValueError(
                f"{block}: out_ch_base={out_ch_base} must be the last input's channels; "
                f"out_ch_base={in_channels[-1]} or leave it out"
            )
        if dim is None:
            dim = "2d" if max_pool_kernels is None else "3d"
        super().__init__(in_channels, width, ch_k, ch_v, br, dim, max_pool_kernels)
