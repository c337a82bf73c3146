"""AttentionAugmentedConv: some output channels from a convolution, the rest from attention. Checked against a loop."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd.function import once_differentiable

from ..registry import register
from .functional import at_least_float32, building_graph, check_bool, check_divides, check_positive
from .nn.residual import apply_residual, make_residual

NAME = "AttentionAugmentedConv"
MIN_KEY_CHANNELS = 20  # channels of a head's queries and keys, unless dk is given; the paper's
MAX_SCORES = {"cpu": 2**22, "cuda": 2**26}  # most scores at a time, over images, heads, queries and keys


def key_channels(out_channels: int, kappa: float, heads: int) -> int:
    """Return the channels of the queries: a share of the output's, a multiple of ``heads``, at least 20 a head."""
    return heads * max(MIN_KEY_CHANNELS, round(out_channels * kappa / heads))


def value_channels(out_channels: int, upsilon: float, heads: int) -> int:
    """Return the channels of the values: a share of the output's, a multiple of ``heads`` from ``heads`` on."""
    return heads * min(max(1, round(out_channels * upsilon / heads)), max(1, out_channels // heads))


def offset_vectors(table: torch.Tensor, length: int) -> torch.Tensor:
    """Return the vectors of a table, ``(1, D, 2 * S - 1)``, for offsets 1 - L to L - 1, ``(D, 2 * L - 1)``.

    Up to L = S those in its middle, one for each offset; beyond, the table is stretched (linear interpolation).
    """
    D, wanted = table.shape[1], 2 * length - 1
    spare = (table.shape[2] - wanted) // 2
    if spare >= 0:
        return table[0, :, spare : spare + wanted]
    return F.interpolate(table, size=wanted, mode="linear", align_corners=True).reshape(D, wanted)


def axis_scores(q: torch.Tensor, table: torch.Tensor, at: torch.Tensor, length: int) -> torch.Tensor:
    """Return q . r for the offset from each query, ``(B, h, Q, D)``, which is ``at`` a row (column), to each row."""
    B, h, Q = q.shape[:3]
    scores = torch.matmul(q, table)  # B h Q 2L-1
    index = torch.arange(length, device=q.device) - at.unsqueeze(1) + length - 1  # Q L
    return scores.gather(3, index.expand(B, h, Q, length))  # B h Q L


def attend_relative(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor, first: int, width: int
) -> torch.Tensor:
    """Attend from some queries to all keys, with relative scores along both axes.

    Args:
        q: ``(B, h, Q, D)``, scaled: the queries of positions ``first`` and after.
        k: ``(B, h, N, D)``.
        v: ``(B, h, N, D)``, of as many channels, as the fused kernels want it.
        rows: ``(D, 2 * H - 1)``, a vector for each offset in height.
        columns: ``(D, 2 * W - 1)``, and in width.
        first: Where the queries start.
        width: W.

    Returns:
        ``(B, h, Q, D)``.
    """
    B, h, Q, D = q.shape
    N = k.shape[2]
    at = torch.arange(first, first + Q, device=q.device)
    i = torch.div(at, width, rounding_mode="floor")
    vertical = axis_scores(q, rows, i, N // width)  # B h Q H
    horizontal = axis_scores(q, columns, at - i * width, width)  # B h Q W
    scores = (vertical.unsqueeze(4) + horizontal.unsqueeze(3)).reshape(B, h, Q, N)
    return F.scaled_dot_product_attention(q * D**0.5, k, v, attn_mask=scores)


def attend_in_parts(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor, width: int, step: int
) -> torch.Tensor:
    """Attend from all queries, ``step`` of them at a time; see :func:`attend_relative`."""
    queries = torch.split(q, step, 2)
    return torch.cat([attend_relative(part, k, v, rows, columns, n * step, width) for n, part in enumerate(queries)], 2)


class AttendInParts(torch.autograd.Function):
    """:func:`attend_in_parts` with the scores computed again, part by part, in the backward pass.

    ``torch.utils.checkpoint`` would keep the forward pass from the fused kernels: they take no scores with a gradient.
    """

    @staticmethod
    def forward(ctx: Any, *args: Any) -> torch.Tensor:
        """Compute :func:`attend_in_parts`; keep its five tensors."""
        ctx.save_for_backward(*args[:5])
        ctx.width, ctx.step = args[5:]
        return attend_in_parts(*args)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Return the gradients of the five tensors."""
        q, *others = ctx.saved_tensors
        k, v, rows, columns = others = [t.detach().requires_grad_() for t in others]
        sums, parts = [torch.zeros_like(t) for t in others], []
        for n, (part, one) in enumerate(zip(torch.split(q, ctx.step, 2), torch.split(grad, ctx.step, 2), strict=True)):
            with torch.enable_grad(), torch.autocast(q.device.type, enabled=False):
                part = part.detach().requires_grad_()
                y = attend_relative(part, k, v, rows, columns, n * ctx.step, ctx.width)
                first, *rest = torch.autograd.grad(y, [part, *others], one)
            parts.append(first)
            for total, more in zip(sums, rest, strict=True):
                total += more
        return torch.cat(parts, 2), *sums, None, None


@register(
    NAME,
    summary="Convolve and attend side by side.",
    paper="https://arxiv.org/abs/1904.09925",
    output="argument",
    checked=("loop",),
)
class AttentionAugmentedConv(nn.Module):
    """Compute some output channels by a convolution and the others by attention over the map with relative positions.

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
        kernel_size: Side of the convolution's kernel; odd.
        stride: Of the convolution and of ``qkv``.
        dk: Channels of the queries and of the keys, all heads together. None: ``kappa`` of the output's channels, to
            the nearest multiple of ``heads``, but at least 20 for each head.
        dv: Output channels that attention computes. None: ``upsilon`` of them, to the nearest multiple of ``heads``
            between ``heads`` and ``out_channels``. ``dv`` = ``out_channels``: there is no convolution.
        heads: N_h of the paper (theirs 8). Must divide ``dk`` and ``dv``.
        kappa: The paper's ratio of ``dk`` to ``out_channels`` (theirs 0.2).
        upsilon: The paper's ratio of ``dv`` to ``out_channels`` (theirs 0.1).
        relative: Whether the scores hold the relative terms. False: attention that knows no positions.
        position_size: S, the side of the map that the tables are made for: one vector for each offset up to S - 1.
        residual: Start as the identity: ``x + gamma * (AttentionAugmentedConv(x) - x)``, gamma per channel, 0 at first.
            Needs ``out_channels`` = ``channels`` and stride 1.

    Raises:
        ValueError: If one of the numbers is not a positive integer, ``kernel_size`` is even, ``heads`` does not divide
            ``dk`` or ``dv``, ``dv`` is above ``out_channels``, ``kappa`` or ``upsilon`` is no number above 0
            (``upsilon``: up to 1), ``relative`` or ``residual`` is not a bool, or ``residual`` is true for a layer
            that changes the map's shape.

    Deviations from the paper:
        1. The tables have a stated size, where the paper's have that of the map. On smaller maps the offsets that occur
           are taken from their middle; on larger ones they are stretched.
        2. ``dk`` and ``dv`` are rounded so that ``heads`` divides them.

    Deviations from the authors' code (the listing in the paper): the two above, and
        1. On larger maps the scores are computed for a part of the queries at a time, and in training once more in the
           backward pass, so that no H * W x H * W matrix exists.

    Limits:
        1. Time grows with the square of H * W; memory does not, beyond a few tensors of 16 MiB (on a GPU
           256 MiB) of scores.
        2. Attention is computed in float32 also under autocast and in a half precision model: scores overflow half
           precision for inputs near 1e3.
        3. No norm and no activation of its own, as the paper's.
        4. Offsets beyond S - 1 are known only as stretched ones; a model for maps of one size does best with that size.
        5. A graph that is compiled keeps the scores of all queries; a traced or exported one is made for one map size.
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
        numbers = {"channels": channels, "out_channels": out_channels, "kernel_size": kernel_size, "stride": stride}
        for what, value in {**numbers, "heads": heads, "position_size": position_size}.items():
            check_positive(NAME, what, value)
        if kernel_size % 2 == 0:
            raise ValueError(
                f"{NAME}: kernel_size={kernel_size} must be odd; e.g. {kernel_size - 1} or {kernel_size + 1}"
            )
        check_ratio("kappa", kappa, None)
        check_ratio("upsilon", upsilon, 1)
        check_bool(NAME, "relative", relative, default=True)
        dk = key_channels(out_channels, kappa, heads) if dk is None else dk
        dv = value_channels(out_channels, upsilon, heads) if dv is None else dv
        for what, value in {"dk": dk, "dv": dv}.items():
            check_positive(NAME, what, value)
            check_divides(NAME, "heads", heads, what, value)
        if dv > out_channels:
            works = f"heads up to {out_channels} and dv up to {out_channels} do"
            raise ValueError(
                f"{NAME}: dv={dv} must be at most out_channels={out_channels}, with heads={heads}; {works}"
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
        # Tables of one axis: some optimizers take those of more for matrices.
        entries = dk // heads * (2 * position_size - 1)
        self.relative_rows = nn.Parameter(torch.empty(entries)) if relative else None
        self.relative_columns = nn.Parameter(torch.empty(entries)) if relative else None
        self.residual = make_residual(channels, residual, NAME)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Start the tables as the paper does: normal, of variance 1 / d."""
        for table in (self.relative_rows, self.relative_columns):
            if table is not None:
                nn.init.normal_(table, std=(self.widths[0] // self.heads) ** -0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the channels of the convolution of ``x``, then those of its attention."""
        attended = self._attention(x)  # B dv H/s W/s
        if self.convolution is None:
            return apply_residual(self.residual, x, attended)
        convolved = self.convolution(x)  # B F-dv H/s W/s
        return apply_residual(self.residual, x, torch.cat([convolved, attended.to(convolved.dtype)], 1))

    def _attention(self, x: torch.Tensor) -> torch.Tensor:
        maps = self.qkv(x)  # B 2dk+dv H W
        B, _, H, W = maps.shape
        dtype = maps.dtype
        with torch.autocast(x.device.type, enabled=False):
            q, k, v = torch.split(at_least_float32(maps), self.widths, 1)
            q, k, v = (m.reshape(B, self.heads, -1, H * W).transpose(2, 3) for m in (q, k, v))  # B h N d
            o = self._scored(q * q.shape[3] ** -0.5, k, v, H, W)  # B h N dv/h
        o = o.transpose(2, 3).reshape(B, -1, H, W)  # B dv H W
        y: torch.Tensor = self.project(o.to(dtype))
        return y

    def _scored(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, height: int, width: int) -> torch.Tensor:
        B, h, N, d = q.shape
        values = v.shape[3]
        D = max(d, values)
        D += -D % 8 if q.device.type == "cuda" else 0
        q, k, v = (F.pad(m, (0, D - m.shape[3])).contiguous() for m in (q, k, v))  # what the fused kernels want
        if self.relative_rows is None or self.relative_columns is None:
            return F.scaled_dot_product_attention(q * D**0.5, k, v)[..., :values]
        rows, columns = (
            F.pad(offset_vectors(at_least_float32(table).reshape(1, d, -1), length), (0, 0, 0, D - d))
            for table, length in ((self.relative_rows, height), (self.relative_columns, width))
        )
        step = max(1, MAX_SCORES.get(q.device.type, MAX_SCORES["cuda"]) // (B * h * N))
        if step >= N:
            return attend_relative(q, k, v, rows, columns, 0, width)[..., :values]
        tensors = (q, k, v, rows, columns)
        needed = torch.is_grad_enabled() and any(t.requires_grad for t in tensors)
        if needed and not building_graph():
            o: torch.Tensor = AttendInParts.apply(*tensors, width, step)
            return o[..., :values]
        return attend_in_parts(*tensors, width, step)[..., :values]


def check_ratio(what: str, value: object, most: float | None) -> None:
    """Raise ValueError unless ``value`` is a number above 0, and at most ``most`` where that is given."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not 0 < value < float("inf") or (most is not None and value > most):  # type: ignore[operator]
        until = "" if most is None else f", up to {most}"
        raise ValueError(f"{NAME}: {what}={value!r} must be a number above 0{until}; 0.2 is one")
