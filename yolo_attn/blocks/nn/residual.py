"""Identity at the start: a learnable scale on the change that a layer makes."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ResidualScale(nn.Module):
    """Compute ``x + gamma * (y - x)`` with one gamma per channel, 0 at the start.

    The layer starts as the identity (Bachlechner et al., "ReZero is All You Need", UAI 2021,
    https://arxiv.org/abs/2003.04887; one scale per channel: Touvron et al., "Going deeper with Image Transformers",
    ICCV 2021, https://arxiv.org/abs/2103.17239), so a trained detector keeps its exact outputs.

    Ultralytics exempts biases, norms and parameters with ``logit_scale`` in their name from weight decay. Decay would
    pull the layer back to the identity, hence the name.

    Args:
        channels: C of the map.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma_logit_scale = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Return ``x`` moved towards ``y``, both ``(B, C, ...)``; dtype of ``x``."""
        gamma = self.gamma_logit_scale.to(x.dtype).reshape(-1, *[1] * (x.ndim - 2))
        return x + gamma * (y.to(x.dtype) - x)


def make_residual(channels: int, residual: object, block: str) -> ResidualScale | None:
    """Return a :class:`ResidualScale` if ``residual`` is true, None if it is false.

    Raises:
        ValueError: If ``residual`` is not a bool.
    """
    if not isinstance(residual, bool):
        raise ValueError(f"{block}: residual={residual!r} must be true or false; true starts as the identity")
    return ResidualScale(channels) if residual else None


def apply_residual(residual: ResidualScale | None, x: Tensor, y: Tensor) -> Tensor:
    """Return ``y``, or ``x`` moved towards ``y`` if the layer has a residual scale."""
    if residual is None:
        return y
    out: Tensor = residual(x, y)
    return out
