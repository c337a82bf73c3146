"""EMA attention: Efficient Multi-scale Attention. Checked against outputs of the authors' code."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..registry import ExportForm, ExportLimit, register
from .functional import check_divides, check_positive, exporting_to
from .nn.residual import apply_residual, make_residual

NCNN_FORM = ExportForm(form="grouped convolutions", formats=("ncnn",), reason="ncnn has no batch axis")


@register(
    "EMA",
    summary="Gate positions in channel groups.",
    paper="https://arxiv.org/abs/2305.13563",
    checked=("authors", "loop"),
    export_limits=(ExportLimit(opset=10, reason="ONNX slices at computed positions from there on"),),
    export_forms=(NCNN_FORM,),
)
class EMA(nn.Module):
    """Gate each position of each channel group; a 1x1 and a 3x3 branch weight each other's channels.

    Ouyang et al., "Efficient Multi-Scale Attention Module with Cross-Spatial Learning", ICASSP 2023,
    https://arxiv.org/abs/2305.13563. Per group ``g`` of C / factor channels:
    ``y1 = GN(g * sigmoid(F1 mean_W(g)) * sigmoid(F1 mean_H(g)))``, ``y3 = F3 g``,
    ``y = g * sigmoid(softmax(mean_HW(y1)) . y3 + softmax(mean_HW(y3)) . y1)``, where ``.`` sums over the channels.
    ``F1`` is ``conv1x1``, ``F3`` is ``conv3x3``; all groups share them.

    Shape:
        x: ``(B, C, H, W)``, C = ``channels``; any H, W >= 1.
        returns: ``(B, C, H, W)``, same dtype and device.

    Args:
        channels: C.
        c2: Output channels, as in the original signature. Must be C or None.
        factor: G of the paper, the number of groups. Must divide ``channels``.
        residual: Start as the identity: ``x + gamma * (EMA(x) - x)``, gamma per channel, 0 at the start.

    Raises:
        ValueError: If ``channels`` or ``factor`` is not a positive integer, ``factor`` does not divide ``channels``,
            ``c2`` is another number than ``channels``, or ``residual`` is not a bool.

    Deviations from the paper: none.

    Deviations from the authors' code (YOLOonMe/EMA-attention-module@afc37ecf):
        1. A ``factor`` that does not divide ``channels`` raises when the layer is built; theirs raises in ``forward``.
        2. ``mean_HW(y1)`` is not computed. The mean of a normalised channel is the bias of the norm, so the softmax
           uses that: the same value without the rounding.

    Limits:
        1. ``channels == factor`` leaves one channel per group; both softmaxes are then constantly 1.
        2. On a 1x1 map the group norm sees one value and returns its bias, so ``conv1x1`` has no effect there.
    """

    def __init__(self, channels: int, c2: int | None = None, factor: int = 32, residual: bool = False) -> None:
        super().__init__()
        check_positive("EMA", channels=channels, factor=factor)
        check_divides("EMA", "factor", factor, "channels", channels)
        if c2 not in (None, channels):
            raise ValueError(
                f"EMA: c2={c2!r} must be channels={channels}, because the layer keeps its channels; omit c2"
            )
        width = channels // factor
        self.groups = factor
        self.gn = nn.GroupNorm(width, width)
        self.conv1x1 = nn.Conv2d(width, width, 1)
        self.conv3x3 = nn.Conv2d(width, width, 3, padding=1)
        self.residual = make_residual(channels, residual, "EMA")

    def forward(self, x: Tensor) -> Tensor:
        if exporting_to(*NCNN_FORM.formats):
            return apply_residual(self.residual, x, self._with_grouped_convolutions(x))
        B, C, H, W = x.shape
        g = x.reshape(B * self.groups, C // self.groups, H, W)  # BG C/G H W
        rows = g.mean(3, keepdim=True)  # BG C/G H 1
        columns = g.mean(2, keepdim=True).transpose(2, 3)  # BG C/G W 1
        gates = self.conv1x1(torch.cat([rows, columns], 2)).sigmoid()  # BG C/G H+W 1
        y1 = self.gn(g * gates[:, :, :H] * gates[:, :, H:].transpose(2, 3)).flatten(2)  # BG C/G HW
        y3 = self.conv3x3(g).flatten(2)  # BG C/G HW
        a1 = self.gn.bias.softmax(0)  # C/G
        a3 = y3.mean(2).softmax(1)  # BG C/G
        gate = torch.matmul(a1, y3) + torch.matmul(a3.unsqueeze(1), y1).squeeze(1)  # BG HW
        y = g * gate.sigmoid().to(x.dtype).reshape(-1, 1, H, W)  # BG C/G H W
        return apply_residual(self.residual, x, y.reshape(B, C, H, W))

    def _with_grouped_convolutions(self, x: Tensor) -> Tensor:
        """Return the same for a runtime without a batch axis: the groups stay channels."""
        G, width, H = self.groups, self.gn.num_channels, x.shape[2]
        weight, bias = self.gn.weight.repeat(G), self.gn.bias.repeat(G)  # the groups share them
        w1, w3 = (conv.weight.repeat(G, 1, 1, 1) for conv in (self.conv1x1, self.conv3x3))
        b1, b3 = (conv.bias.repeat(G) for conv in (self.conv1x1, self.conv3x3) if conv.bias is not None)
        means = torch.cat([x.mean(3, keepdim=True), x.mean(2, keepdim=True).transpose(2, 3)], 2)  # B C H+W 1
        gates = F.conv2d(means, w1, b1, groups=G).sigmoid()
        y1 = x * gates[:, :, :H] * gates[:, :, H:].transpose(2, 3)
        y1 = y1 - y1.mean((2, 3), keepdim=True)
        scale = weight.reshape(1, -1, 1, 1) * (y1.square().mean((2, 3), keepdim=True) + self.gn.eps).rsqrt()
        y1 = y1 * scale + bias.reshape(1, -1, 1, 1)  # B C H W
        y3 = F.conv2d(x, w3, b3, padding=1, groups=G)  # B C H W
        a1 = self.gn.bias.softmax(0).repeat(G).reshape(1, -1, 1, 1)
        a3 = y3.mean((2, 3)).reshape(-1, G, width).softmax(2).reshape(-1, G * width, 1, 1)  # B C 1 1
        ones = torch.ones_like(w1)  # gives each channel the sum of its group
        return x * F.conv2d(a1 * y3 + a3 * y1, ones, groups=G).sigmoid()
