"""GSoP: global second-order pooling, channel form. Checked against figures of the authors' code."""

from __future__ import annotations

import torch
from torch import nn

from ..registry import register
from ._checks import check_positive


def covariance(x: torch.Tensor) -> torch.Tensor:
    """Return the covariance of the rows of ``x``, ``(B, D, N)`` to ``(B, D, D)``, in float32 at least.

    The rows are centred by subtracting their means: memory grows with N, not with N * N as with a centring matrix.
    Half precision, chosen or through autocast, rounds variances below zero.
    """
    with torch.autocast(x.device.type, enabled=False):
        x = x if x.dtype == torch.float64 else x.float()
        x = x - x.mean(2, keepdim=True)
        return torch.matmul(x, x.transpose(1, 2)) / x.shape[2]


@register("GSoP", paper="https://arxiv.org/abs/1811.12006")
class GSoP(nn.Module):
    """Scale each channel by a gate computed from how the channels vary together over the whole map.

    Gao et al., "Global Second-order Pooling Convolutional Networks", CVPR 2019, https://arxiv.org/abs/1811.12006,
    the GSoP block, channel-wise: ``z = relu(BN(W1 relu(x)))``, ``S = cov(z)`` over the N positions,
    ``y = x * sigmoid(W3 (W2 BN(S)))``. ``W1`` is ``reduce``; ``W2``, ``rows``, is the row-wise convolution: each row
    of S is weighted into 4 numbers of its own; ``W3`` is ``expand``.

    Shape:
        x: ``(B, C, H, W)``, C = ``channels``; any H, W >= 1.
        returns: ``(B, C, H, W)``, same dtype and device.

    Args:
        channels: C.
        reduced_channels: c of the paper, the side of the covariance matrix (their default 128).
        reduction_stride: Stride of the 1x1 reduction. The authors take 2 on their largest maps and 1 elsewhere.

    Raises:
        ValueError: If an argument is not a positive integer.

    Deviations from the paper: as in the authors' code, the input goes through a ReLU before the reduction, and no
    activation stands between the row-wise convolution and the last one.

    Deviations from the authors' code (ZilinGao/Global-Second-order-Pooling-Convolutional-Networks@662a6996):
        1. The map is centred by its mean, not by an N x N matrix (164 MB a sample at 80 x 80): equal up to the
           rounding of that matrix, which is float32 there.
        2. The covariance is computed in float32 also under autocast and in a half precision model.
        3. A module of its own; theirs is written into a ResNet bottleneck.

    Limits:
        1. Batch 1 in train mode needs more than one position after the reduction, as batch norm does.
        2. On a 1x1 map the covariance is zero: the gate is then constant in eval mode.
        3. Position, sum, max and concat forms of the authors' code are not here.
        4. Ultralytics gives every batch norm of a model eps 1e-3. The rows of a fresh covariance vary by about as much,
           so in a YOLO ``row_bn`` starts out weaker than the authors' (1e-5).
    """

    def __init__(self, channels: int, reduced_channels: int = 128, reduction_stride: int = 1) -> None:
        super().__init__()
        check_positive("GSoP", "channels", channels)
        check_positive("GSoP", "reduced_channels", reduced_channels)
        check_positive("GSoP", "reduction_stride", reduction_stride)
        self.reduce = nn.Conv2d(channels, reduced_channels, 1, stride=reduction_stride)
        self.reduce_bn = nn.BatchNorm2d(reduced_channels)
        self.row_bn = nn.BatchNorm2d(reduced_channels)
        self.rows = nn.Conv2d(
            reduced_channels, 4 * reduced_channels, kernel_size=(reduced_channels, 1), groups=reduced_channels
        )
        self.expand = nn.Conv2d(4 * reduced_channels, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``x`` scaled channel by channel."""
        z = self.reduce_bn(self.reduce(x.relu())).relu()  # B D H/s W/s
        s = covariance(z.flatten(2)).to(self.row_bn.weight.dtype).unsqueeze(3)  # B D D 1
        gate: torch.Tensor = self.expand(self.rows(self.row_bn(s))).sigmoid()  # B C 1 1
        return x * gate.to(x.dtype)


class GSopBlock(GSoP):
    """GSoP under the name and with the argument names that are common for it; see :class:`GSoP`.

    https://arxiv.org/abs/1811.12006

    Shape:
        x: ``(B, C, H, W)``, C = ``in_channels``; any H, W >= 1.
        returns: ``(B, C, H, W)``, same dtype and device.

    Args:
        in_channels: C.
        mid_channels: c of the paper, the side of the covariance matrix.

    Raises:
        ValueError: If an argument is not a positive integer.

    Deviations from the paper, from the authors' code: those of :class:`GSoP`.

    Limits: those of :class:`GSoP`.
    """

    def __init__(self, in_channels: int, mid_channels: int = 128) -> None:
        check_positive("GSopBlock", "in_channels", in_channels)
        check_positive("GSopBlock", "mid_channels", mid_channels)
        super().__init__(in_channels, mid_channels)
