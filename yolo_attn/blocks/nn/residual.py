"""Identity at the start: a learnable scale on the change that a layer makes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..functional import check_bool


class ResidualScale(nn.Module):
    """Compute ``x + gamma * (y - x)`` with one gamma per channel, 0 at the start.

    The layer starts as the identity (Bachlechner et al., "ReZero is All You Need", UAI 2021,
    https://arxiv.org/abs/2003.04887; one scale per channel: Touvron et al., "Going deeper with Image Transformers",
    ICCV 2021, https://arxiv.org/abs/2103.17239), so a trained detector keeps its exact outputs.

    Ultralytics exempts biases, norms and parameters with ``logit_scale`` in their name from weight decay. Decay would
    pull the layer back to the identity, hence the name.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma_logit_scale = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Return ``x`` moved towards ``y``, both ``(B, C, ...)``; dtype of ``x``."""
        gamma = self.gamma_logit_scale.to(x.dtype).reshape(-1, *[1] * (x.ndim - 2))
        return x + gamma * (y.to(x.dtype) - x)


def make_residual(channels: int, residual: object, block: str) -> ResidualScale | None:
    """Return a :class:`ResidualScale` or None; raise ValueError if ``residual`` is not a bool."""
    check_bool(block, residual=residual)
    return ResidualScale(channels) if residual else None


def apply_residual(residual: ResidualScale | None, x: Tensor, y: Tensor) -> Tensor:
    """Return ``y``, or ``x`` moved towards ``y`` if the layer has a residual scale."""
    return y if residual is None else residual(x, y)
