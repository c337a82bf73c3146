"""GlobalContext: add one context vector to every position. Checked against outputs of the authors' code."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..registry import register
from .functional import at_least_float32, check_choice, check_number, check_positive, in_float32
from .nn.residual import apply_residual, make_residual

FUSIONS = ("channel_add", "channel_mul")


def fusions_of(block: str, name: str, fusion: object) -> list[str]:
    """Return the fusions in ``fusion``, a string or a list of them.

    Raises:
        ValueError: If it is empty, or names one twice or an unknown one.
    """
    names = [fusion] if isinstance(fusion, str) else list(fusion) if isinstance(fusion, Sequence) else []
    if not names or not all(n in FUSIONS for n in names) or len(set(names)) != len(names):
        known = ", ".join(map(repr, FUSIONS))
        raise ValueError(f"{block}: {name}={fusion!r} must be {known} or a list of both; the default is the first")
    return names


def bottleneck(channels: int, hidden: int) -> nn.ModuleDict:
    """Return two 1x1 convolutions with a layer norm, numbered as in the authors' code, where the ReLU is 2."""
    return nn.ModuleDict(
        {"0": nn.Conv2d(channels, hidden, 1), "1": nn.LayerNorm(hidden), "3": nn.Conv2d(hidden, channels, 1)}
    )


def apply_bottleneck(layers: nn.ModuleDict, context: Tensor) -> Tensor:
    """Apply a bottleneck to the context, ``(B, C, 1, 1)``, in float32."""
    hidden = in_float32(layers["1"], in_float32(layers["0"], context).flatten(1)).relu()  # B R
    return in_float32(layers["3"], hidden.unsqueeze(2).unsqueeze(3))  # B C 1 1


@register(
    "GlobalContext",
    summary="Add one context vector everywhere.",
    paper="https://arxiv.org/abs/1904.11492",
    checked=("authors", "loop"),
)
class GlobalContext(nn.Module):
    """Pool the map with one shared attention map, and add a transform of the result to every position.

    Cao et al., "GCNet: Non-local Networks Meet Squeeze-Excitation Networks and Beyond", ICCV workshops 2019,
    https://arxiv.org/abs/1904.11492, Sec. 3.3: ``a = softmax_N(Wk x)``, ``c = sum_N a x``,
    ``d = Wv2 relu(LN(Wv1 c))``. Added: ``y = x + d``; multiplied: ``y = x * sigmoid(d)``; both, with separate layers:
    ``y = x * sigmoid(d') + d``. ``Wk`` is ``conv_mask``; ``Wv1``, LN and ``Wv2`` are ``0``, ``1`` and ``3`` of
    ``channel_add_conv`` or ``channel_mul_conv``, the authors' names; LN's parameters are vectors, theirs (R, 1, 1).
    ``Wv2`` starts at zero, so with addition the layer starts as the identity.

    Shape:
        x: ``(B, C, H, W)``, C = ``channels``; any H, W >= 1.
        returns: ``(B, C, H, W)``, same dtype and device.

    Args:
        channels: C.
        ratio: 1 / r of the paper (authors' default: 1 / 16). The bottleneck has ``C * ratio`` channels, rounded down,
            at least 1.
        pooling: ``"att"``, the shared attention, or ``"avg"``: c is the mean of the map, and there is no ``Wk``.
        fusion: ``"channel_add"``, ``"channel_mul"``, or a list of both.
        residual: Start as the identity: ``x + gamma * (GlobalContext(x) - x)``, gamma per channel, 0 at the start.
            ``Wv2`` then starts at random, because with both at zero neither would get a gradient. With ``channel_add``
            alone the layer starts as the identity without it.

    Raises:
        ValueError: If ``channels`` is not a positive integer, ``ratio`` is not a number above 0 and at most 1,
            ``pooling`` or ``fusion`` is unknown, or ``residual`` is not a bool.

    Deviations from the paper: none.

    Deviations from the authors' code (xvjiarui/GCNet@029db540):
        1. The context and the bottleneck are computed in float32 also under autocast and in a half precision model.
        2. The bottleneck has at least one channel; theirs fails where ``C * ratio`` is below 1.

    Limits:
        1. With ``channel_mul`` the zero start gives a gate of 0.5, as in the authors' code: the layer halves its input
           at the start. ``residual: true`` makes it start as the identity.
        2. With one channel in the bottleneck (up to 31 channels at the default ratio) the layer norm sees one value and
           returns its bias, so d is the same for every image. A ratio of 0.25 avoids that.
        3. ``conv_mask.bias`` has no effect: it shifts all positions equally, before the softmax over them.
    """

    def __init__(
        self,
        channels: int,
        ratio: float = 1 / 16,
        pooling: str = "att",
        fusion: str | Sequence[str] = "channel_add",
        residual: bool = False,
    ) -> None:
        super().__init__()
        check_positive("GlobalContext", channels=channels)
        check_number("GlobalContext", "ratio", ratio, 1 / 16, most=1)
        check_choice("GlobalContext", "pooling", pooling, ("att", "avg"))
        names = fusions_of("GlobalContext", "fusion", fusion)
        hidden = max(1, int(channels * ratio))
        self.conv_mask = nn.Conv2d(channels, 1, 1) if pooling == "att" else None
        self.channel_add_conv = bottleneck(channels, hidden) if "channel_add" in names else None
        self.channel_mul_conv = bottleneck(channels, hidden) if "channel_mul" in names else None
        self.residual = make_residual(channels, residual, "GlobalContext")
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initialise as the authors do: He's normal for the attention, zeros for the last layer of a bottleneck."""
        if self.conv_mask is not None:
            nn.init.kaiming_normal_(self.conv_mask.weight, mode="fan_in", nonlinearity="relu")
            nn.init.zeros_(self.conv_mask.bias)  # type: ignore[arg-type]
        for layers in (self.channel_add_conv, self.channel_mul_conv):
            if layers is not None and self.residual is None:
                for parameter in layers["3"].parameters():
                    nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        context = self._context(x)  # B C 1 1
        y = x
        if self.channel_mul_conv is not None:
            y = y * apply_bottleneck(self.channel_mul_conv, context).sigmoid().to(x.dtype)
        if self.channel_add_conv is not None:
            y = y + apply_bottleneck(self.channel_add_conv, context).to(x.dtype)
        return apply_residual(self.residual, x, y)

    def _context(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            x = at_least_float32(x)
            if self.conv_mask is None:
                return x.mean((2, 3), keepdim=True)
            weights = in_float32(self.conv_mask, x).flatten(1).softmax(1)  # B N
            context = torch.matmul(weights.unsqueeze(1), x.flatten(2).transpose(1, 2))  # B 1 C
            return context.reshape(-1, context.shape[2], 1, 1)


class ContextBlock(GlobalContext):
    """Build :class:`GlobalContext` with the authors' class name and argument names.

    Args:
        inplanes: C.
        ratio: Channels of the bottleneck as a fraction of C.
        pooling_type: ``"att"`` or ``"avg"``.
        fusion_types: One or both of ``"channel_add"`` and ``"channel_mul"``.
    """

    def __init__(
        self,
        inplanes: int,
        ratio: float,
        pooling_type: str = "att",
        fusion_types: str | Sequence[str] = ("channel_add",),
    ) -> None:
        check_positive("ContextBlock", inplanes=inplanes)
        super().__init__(inplanes, ratio, pooling_type, fusions_of("ContextBlock", "fusion_types", fusion_types))
