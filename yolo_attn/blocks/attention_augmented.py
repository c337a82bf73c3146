"""AttentionAugmentedConv: some output channels from a convolution, the rest from attention. Checked against a loop."""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..registry import ExportLimit, register
from .functional import (
    RecomputedParts,
    at_least_float32,
    building_graph,
    check_bool,
    check_divides,
    check_number,
    check_positive,
    check_used,
    graph_parts,
    middle_or_stretched,
    part_starts,
    recomputes,
)
from .nn.attention_kernels import NCNN_AXES, PARTS_FORM, SDPA_OPSET
from .nn.residual import apply_residual, make_residual

NAME = "AttentionAugmentedConv"
MIN_KEY_CHANNELS = 20  # per head, unless dk is given; from the paper
MAX_SCORES = {"cpu": 2**22, "cuda": 2**26}  # scores held at a time, over images, heads, queries and keys
NEEDS = {"kappa": ("dk", (None,)), "upsilon": ("dv", (None,)), "position_size": ("relative", (True,))}


def axis_scores(q: Tensor, table: Tensor, index: Tensor, length: int) -> Tensor:
    """Return q . r, ``(B, h, Q, L)``, for the offsets from each query, at row (or column) ``index``, to all rows."""
    B, h, Q = q.shape[:3]
    scores = torch.matmul(q, table)  # B h Q 2L-1
    offsets = torch.arange(length, device=q.device) - index.unsqueeze(1) + length - 1  # Q L
    return scores.gather(3, offsets.expand(B, h, Q, length))  # B h Q L


def attend_relative(first: int, width: int, q: Tensor, k: Tensor, v: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Attend from the queries at position ``first`` and after to all keys, with relative scores along both axes.

    The queries, ``(B, h, Q, D)``, are scaled; k and v are ``(B, h, N, D)``, v padded to D for the fused kernels. Rows
    and columns, ``(D, 2 * H - 1)`` and ``(D, 2 * W - 1)``, hold a vector for each offset; ``width`` is W. The result
    has the shape of q.
    """
    B, h, Q, D = q.shape
    N = k.shape[2]
    position = torch.arange(first, first + Q, device=q.device)
    i = torch.div(position, width, rounding_mode="floor")
    vertical = axis_scores(q, rows, i, N // width)  # B h Q H
    horizontal = axis_scores(q, columns, position - i * width, width)  # B h Q W
    scores = (vertical.unsqueeze(4) + horizontal.unsqueeze(3)).reshape(B, h, Q, N)
    return F.scaled_dot_product_attention(q * D**0.5, k, v, attn_mask=scores)


@register(
    NAME,
    summary="Convolve and attend side by side.",
    paper="https://arxiv.org/abs/1904.09925",
    output="argument",
    checked=("loop",),
    export_limits=(
        SDPA_OPSET,
        ExportLimit(formats=("ncnn",), options={"relative": (True,)}, reason=NCNN_AXES, works="relative: false can"),
    ),
    export_forms=(PARTS_FORM,),
)
class AttentionAugmentedConv(nn.Module):
    """Compute some output channels by a convolution, the others by attention with relative positions.

    Bello et al., "Attention Augmented Convolutional Networks", ICCV 2019, https://arxiv.org/abs/1904.09925, Sec. 3:
    ``y = [K x; P [o_1; ...; o_h]]``, ``o = softmax(l) v`` for each head, with
    ``l_ij = q_i . (k_j + r^W_{jx - ix} + r^H_{jy - iy}) / sqrt(d)``, d = dk / heads. ``K`` is ``convolution`` and ``P``
    is ``project``; q, k and v come from ``qkv``, a 1x1 convolution; ``r^H`` and ``r^W`` are ``relative_rows`` and
    ``relative_columns``, which the heads share.

    Shape:
        x: ``(B, C, H, W)``, C = ``channels``; any H, W >= 1.
        returns: ``(B, out_channels, ceil(H / stride), ceil(W / stride))``, same dtype and device.

    Args:
        channels: C.
        out_channels: F_out of the paper: the channels of the convolution and of the attention together.
        kernel_size: Side of the convolution's kernel, odd. Needs ``dv`` below ``out_channels``.
        stride: Stride of the convolution and of ``qkv``.
        dk: Channels of the queries and of the keys, all heads together. None: the fraction ``kappa`` of the output
            channels, rounded to a multiple of ``heads``, at least 20 per head.
        dv: Output channels that attention computes. None: the fraction ``upsilon`` of the output channels, rounded to a
            multiple of ``heads`` from ``heads`` to ``out_channels``. With ``dv`` = ``out_channels`` there is no
            convolution.
        heads: N_h of the paper (theirs 8). Must divide ``dk`` and ``dv``.
        kappa: Ratio of ``dk`` to ``out_channels`` (theirs 0.2). Only without ``dk``.
        upsilon: Ratio of ``dv`` to ``out_channels`` (theirs 0.1). Only without ``dv``.
        relative: Whether the scores hold the relative terms. Without them attention ignores positions.
        position_size: S, the side of the map for which the tables are made: one vector per offset up to S - 1. Only
            with ``relative``.
        residual: Start as the identity: ``x + gamma * (y - x)``, gamma per channel, 0 at the start.
            Needs ``out_channels`` = ``channels`` and stride 1.

    Raises:
        ValueError: If a number is not a positive integer, ``kernel_size`` is even, ``heads`` does not divide ``dk`` or
            ``dv``, ``dv`` is above ``out_channels``, ``kappa`` or ``upsilon`` is not a number above 0 (``upsilon``: at
            most 1), an option has no effect with the others, ``relative`` or ``residual`` is not a bool, or
            ``residual`` is true for a layer that changes the map's shape.

    Deviations from the paper:
        1. The tables have a fixed size; the paper's have that of the map. Smaller maps use the middle of the tables,
           larger maps stretch them.
        2. ``dk`` and ``dv`` are rounded so that ``heads`` divides them.

    Deviations from the authors' code (the listing in the paper): those from the paper, and
        1. Larger maps compute the scores for a part of the queries at a time, and in training once more in the backward
           pass, so that no H * W x H * W matrix exists.

    Limits:
        1. Time grows with the square of H * W. Memory does not, apart from a few tensors of scores of 16 MiB each (on a
           GPU 256 MiB).
        2. Attention runs in float32 also under autocast and in a half precision model: scores overflow half precision
           for inputs near 1e3.
        3. No norm and no activation of its own, as the paper.
        4. Offsets beyond S - 1 come from stretched tables only; set ``position_size`` to the size of the maps.
        5. A compiled graph keeps the scores of all queries. An exported one does not, and takes maps of any size.
    """

    def __init__(
        self,
        channels: int,
        out_channels: int,
        kernel_size: int = 3,
        stride: int = 1,
        dk: int | None = None,
        dv: int | None = None,
        heads: int = 8,
        kappa: float = 0.2,
        upsilon: float = 0.1,
        relative: bool = True,
        position_size: int = 20,
        residual: bool = False,
    ) -> None:
        super().__init__()
        check_positive(NAME, channels=channels, out_channels=out_channels, kernel_size=kernel_size, stride=stride)
        check_positive(NAME, heads=heads, position_size=position_size)
        if kernel_size % 2 == 0:
            raise ValueError(
                f"{NAME}: kernel_size={kernel_size} must be odd; e.g. {kernel_size - 1} or {kernel_size + 1}"
            )
        check_number(NAME, "kappa", kappa, 0.2)
        check_number(NAME, "upsilon", upsilon, 0.1, most=1)
        check_bool(NAME, relative=relative)
        options = {"dk": dk, "kappa": kappa, "dv": dv, "upsilon": upsilon}
        check_used(type(self), NEEDS, **options, relative=relative, position_size=position_size)
        if dk is None:
            dk = heads * max(MIN_KEY_CHANNELS, round(out_channels * kappa / heads))
        if dv is None:
            dv = heads * min(max(1, round(out_channels * upsilon / heads)), max(1, out_channels // heads))
        for name, value in (("dk", dk), ("dv", dv)):
            check_positive(NAME, **{name: value})
            check_divides(NAME, "heads", heads, name, value)
        if dv > out_channels:
            works = f"heads up to {out_channels} and dv up to {out_channels} do"
            raise ValueError(
                f"{NAME}: dv={dv} must be at most out_channels={out_channels}, with heads={heads}; {works}"
            )
        if dv == out_channels and kernel_size != 3:
            raise ValueError(
                f"{NAME}: kernel_size={kernel_size} has no effect with dv={dv}, which leaves no convolution; "
                f"it works with dv below out_channels={out_channels}"
            )
        if residual is True and (out_channels != channels or stride != 1):
            shape = f"channels={channels}, out_channels={out_channels}, stride={stride}"
            raise ValueError(
                f"{NAME}: residual=True must keep the map's shape, but has {shape}; "
                f"out_channels={channels} with stride=1 does, or residual=False"
            )
        self.heads = heads
        self.widths = [dk, dk, dv]
        self.convolution = (
            nn.Conv2d(channels, out_channels - dv, kernel_size, stride, kernel_size // 2) if dv < out_channels else None
        )
        self.qkv = nn.Conv2d(channels, 2 * dk + dv, 1, stride)
        self.project = nn.Conv2d(dv, dv, 1)
        # 1-D tables, because some optimizers treat others as matrices.
        entries = dk // heads * (2 * position_size - 1)
        self.relative_rows = nn.Parameter(torch.empty(entries)) if relative else None
        self.relative_columns = nn.Parameter(torch.empty(entries)) if relative else None
        self.residual = make_residual(channels, residual, NAME)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initialise the tables as the paper does: normal, with variance 1 / d."""
        for table in (self.relative_rows, self.relative_columns):
            if table is not None:
                nn.init.normal_(table, std=(self.widths[0] // self.heads) ** -0.5)

    def forward(self, x: Tensor) -> Tensor:
        attended = self._attention(x)  # B dv H/s W/s
        if self.convolution is None:
            return apply_residual(self.residual, x, attended)
        convolved = self.convolution(x)  # B F-dv H/s W/s
        return apply_residual(self.residual, x, torch.cat([convolved, attended.to(convolved.dtype)], 1))

    def _attention(self, x: Tensor) -> Tensor:
        maps = self.qkv(x)  # B 2dk+dv H W
        H, W = maps.shape[2:]
        dtype = maps.dtype
        with torch.autocast(x.device.type, enabled=False):
            q, k, v = torch.split(at_least_float32(maps), self.widths, 1)
            widths = [width // self.heads for width in self.widths]
            q, k, v = (
                m.reshape(-1, self.heads, d, H * W).transpose(2, 3) for m, d in zip((q, k, v), widths, strict=True)
            )  # B h N d
            o = self._scored(q * widths[0] ** -0.5, k, v, H, W)  # B h N dv/h
        o = o.transpose(2, 3).reshape(-1, self.widths[2], H, W)  # B dv H W
        return self.project(o.to(dtype))

    def _scored(self, q: Tensor, k: Tensor, v: Tensor, height: int, width: int) -> Tensor:
        d, _, values = (n // self.heads for n in self.widths)
        D = max(d, values)
        D += -D % 8 if q.device.type == "cuda" else 0
        # all of one width, for the fused kernels
        q, k, v = (F.pad(m, (0, D - n)).contiguous() for m, n in ((q, d), (k, d), (v, values)))
        if self.relative_rows is None or self.relative_columns is None:
            return F.scaled_dot_product_attention(q * D**0.5, k, v)[..., :values]
        rows, columns = (
            F.pad(self._offset_vectors(table, 2 * length - 1), (0, 0, 0, D - d))
            for table, length in ((self.relative_rows, height), (self.relative_columns, width))
        )
        tensors = (q, k, v, rows, columns)
        starts = part_starts(N := q.shape[2], self._parts(q.shape[0] * self.heads * N, N, q.device.type))
        if len(starts) == 2:
            return attend_relative(0, width, *tensors)[..., :values]
        slices = [slice(first, end) for first, end in itertools.pairwise(starts)]
        if recomputes(*tensors):
            indices = [((slice(None), slice(None), queries), (), (), (), ()) for queries in slices]
            o: Tensor = RecomputedParts.apply(
                lambda index, *pieces: attend_relative(index[0][2].start, width, *pieces), indices, *tensors
            )
            return o[..., :values]
        outs = [attend_relative(n.start, width, q[:, :, n], k, v, rows, columns) for n in slices]
        return torch.cat(outs, 2)[..., :values]

    def _parts(self, scores_per_query: int, queries: int, device: str) -> int:
        """Return in how many parts the queries attend."""
        most = MAX_SCORES.get(device, MAX_SCORES["cuda"])
        if building_graph():
            return graph_parts(queries, scores_per_query * queries, most)
        return -(-queries // max(1, most // scores_per_query))

    def _offset_vectors(self, table: Tensor, length: int) -> Tensor:
        """Return the vectors of a table for the offsets in the middle, ``(d, length)``; stretched if it has fewer."""
        d = self.widths[0] // self.heads
        return middle_or_stretched(at_least_float32(table).reshape(d, -1), table.numel() // d, length)
