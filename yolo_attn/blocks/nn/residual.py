"""Identity at the start: a learnable share of a layer's effect that begins at zero."""

from __future__ import annotations

import torch
from torch import nn

from ..functional import check_bool


class ResidualScale(nn.Module):
    """``x + gamma * (y - x)``, gamma a scale per channel that starts at 0.

    A layer with it changes nothing until it is trained (Bachlechner et al., "ReZero is All You Need", UAI 2021,
    https://arxiv.org/abs/2003.04887; a scale per channel: Touvron et al., "Going deeper with Image Transformers",
    ICCV 2021, https://arxiv.org/abs/2103.17239), so that a trained detector keeps its outputs, exactly.

    The parameter's name holds ``logit_scale`` because Ultralytics gives weight decay to every weight but those with
    that name, biases and norms; decay would pull the layer back to doing nothing.

    Args:
        channels: C of the map.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma_logit_scale = nn.Parameter(torch.zeros(channels))

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Return ``x`` moved towards ``y``, both ``(B, C, ...)`` of one shape; dtype of ``x``."""
        gamma = self.gamma_logit_scale.to(x.dtype).reshape(-1, *[1] * (x.ndim - 2))
        return x + gamma * (y.to(x.dtype) - x)


def make_residual(channels: int, wanted: object, block: str) -> ResidualScale | None:
    """Return what a layer keeps as ``self.residual``: a :class:`ResidualScale` if ``wanted``, else None.

    Raises:
        ValueError: If ``wanted`` is not a bool.
    """
    if not isinstance(wanted, bool):
        raise ValueError(f"{block}: residual={wanted!r} must be true or false; true changes nothing at the start")
    return ResidualScale(channels) if wanted else None


def apply_residual(residual: ResidualScale | None, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Return ``y``, or ``x`` moved towards it where the layer has a residual scale."""
    if residual is None:
        return y
    out: torch.Tensor = residual(x, y)
    return out


def start_scale(channels: int, residual: bool, apply: bool, block: str) -> ResidualScale | None:
    """Return the scale of ``residual``, which needs ``apply``: a bare map has no input to start from."""
    check_bool(block, "apply", apply)
    scale = make_residual(channels, residual, block)
    if scale is not None and not apply:
        raise ValueError(f"{block}: residual=True must come with apply=True; the bare map takes no residual")
    return scale
