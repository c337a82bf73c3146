"""ImprovedLocalAttention: convolutions of three sizes, then squeeze-and-excitation. Checked against a loop."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..registry import register
from .functional import at_least_float32, batch_norm, check_bool, check_choice, check_positive, in_float32
from .nn.residual import apply_residual, make_residual

SIZES = (1, 3, 5)


@register(
    "ImprovedLocalAttention",
    summary="Mix three sizes of neighbourhood.",
    paper="https://arxiv.org/abs/2109.08417",
    checked=("loop",),
)
class ImprovedLocalAttention(nn.Module):
    """Combine 1x1, 3x3 and 5x5 convolutions, then gate each channel by the mean over the map.

    The local branch of Wang et al., "UNetFormer: A UNet-like transformer for efficient semantic segmentation of remote
    sensing urban scene imagery", ISPRS Journal 2022, https://arxiv.org/abs/2109.08417, with a third convolution,
    followed by the gate of Hu et al., "Squeeze-and-Excitation Networks", CVPR 2018, https://arxiv.org/abs/1709.01507:
    ``l = BN(K1 x) + BN(K3 x) + BN(K5 x)`` (or ``l = Kj [BN(K1 x); BN(K3 x); BN(K5 x)]``),
    ``y = l * sigmoid(W2 relu(W1 mean_HW(l)))``. ``K1``, ``K3`` and ``K5`` are ``convolutions``, ``Kj`` is ``join``,
    ``W1`` is ``squeeze`` and ``W2`` is ``excite``.

    Shape:
        x: ``(B, C, H, W)``, C = ``channels``; any H, W >= 1.
        returns: ``(B, C, H, W)``, same dtype and device.

    Args:
        channels: C.
        reduction: r of squeeze-and-excitation (paper: 16). The hidden layer has C // r channels, at least 1.
        fuse: ``"sum"`` adds the three convolutions, as UNetFormer does; ``"concat"`` concatenates them and applies a
            1x1 convolution.
        depthwise: Make the 3x3 and 5x5 convolutions depthwise. UNetFormer's are dense.
        residual: Start as the identity: ``x + gamma * (y - x)``, gamma per channel, 0 at the start.

    Raises:
        ValueError: If ``channels`` or ``reduction`` is not a positive integer, ``fuse`` is unknown, or ``depthwise`` or
            ``residual`` is not a bool.

    Deviations from the paper:
        1. A 5x5 convolution in addition to UNetFormer's 1x1 and 3x3, and the squeeze-and-excitation gate after the sum.
        2. The hidden layer of the gate has at least one channel; C / r has none for small C.

    Deviations from the authors' code (WangLibo1995/GeoSeg@9453fe48): the same.

    Limits:
        1. If training sees one value per channel (batch 1 and a 1x1 map), batch norms use their running statistics.
        2. The gate is computed in float32 also under autocast and in a half precision model; the convolutions are not.
        3. On a 1x1 map the 3x3 and 5x5 convolutions see only padding around their center.
    """

    def __init__(
        self, channels: int, reduction: int = 16, fuse: str = "sum", depthwise: bool = False, residual: bool = False
    ) -> None:
        super().__init__()
        check_positive("ImprovedLocalAttention", channels=channels, reduction=reduction)
        check_choice("ImprovedLocalAttention", "fuse", fuse, ("sum", "concat"))
        check_bool("ImprovedLocalAttention", depthwise=depthwise)
        groups = [1, channels, channels] if depthwise else [1, 1, 1]
        self.convolutions = nn.ModuleList(
            nn.Conv2d(channels, channels, k, padding=k // 2, groups=g, bias=False)
            for k, g in zip(SIZES, groups, strict=True)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(channels) for _ in SIZES)
        self.join = nn.Conv2d(len(SIZES) * channels, channels, 1) if fuse == "concat" else None
        hidden = max(1, channels // reduction)
        self.squeeze = nn.Conv2d(channels, hidden, 1)
        self.excite = nn.Conv2d(hidden, channels, 1)
        self.residual = make_residual(channels, residual, "ImprovedLocalAttention")

    def forward(self, x: Tensor) -> Tensor:
        branches = [batch_norm(norm, k(x)) for k, norm in zip(self.convolutions, self.norms, strict=True)]  # B C H W
        y = branches[0] + branches[1] + branches[2] if self.join is None else self.join(torch.cat(branches, 1))
        pooled = at_least_float32(y).mean((2, 3), keepdim=True)  # B C 1 1
        gate = in_float32(self.excite, in_float32(self.squeeze, pooled).relu()).sigmoid()  # B C 1 1
        return apply_residual(self.residual, x, (y * gate.to(y.dtype)).to(x.dtype))
