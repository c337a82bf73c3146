"""GlobalLocalAttention: convolutions for the neighbourhood plus attention for the map. Checked against a loop."""

from __future__ import annotations

import inspect
from collections.abc import Sequence

from torch import Tensor, nn

from ..registry import register
from .global_attention import MultiHeadGlobalAttention
from .improved_local import ImprovedLocalAttention
from .nn.attention_kernels import LIMITS, PARTS_FORM
from .nn.residual import apply_residual, make_residual

ATTENTION_OPTIONS = inspect.signature(MultiHeadGlobalAttention).parameters.keys() - {"channels", "residual"}


@register(
    "GlobalLocalAttention",
    summary="Add convolutions and attention.",
    paper="https://arxiv.org/abs/2109.08417",
    checked=("loop",),
    export_limits=LIMITS,
    export_forms=(PARTS_FORM,),
)
class GlobalLocalAttention(nn.Module):
    """Add local convolutions and multi-head attention over the map or windows.

    After Wang et al., "UNetFormer: A UNet-like transformer for efficient semantic segmentation of remote sensing urban
    scene imagery", ISPRS Journal 2022, https://arxiv.org/abs/2109.08417, Sec. 3.3, the global-local attention:
    ``y = local(x) + attention(x)``, with :class:`ImprovedLocalAttention` as ``local`` and
    :class:`MultiHeadGlobalAttention` as ``attention``.

    Shape:
        x: ``(B, C, H, W)``, C = ``channels``; any H, W >= 1.
        returns: ``(B, C, H, W)``, same dtype and device.

    Args:
        channels: C.
        heads: Number of heads. Must divide ``channels``. This and the options up to ``qkv_bias`` are those of
            :class:`MultiHeadGlobalAttention`.
        kernel: How keys are weighted.
        extent: Which keys a query sees. UNetFormer: ``window``.
        position: How positions enter.
        window: Side of a window, or ``dynamic``, for the extents window, shifted and overlap.
        windows: Sides of the windows of each group of heads, for ``multiscale``.
        shift: Start of the first full window, for ``shifted``.
        overlap: How far the window of keys extends beyond that of queries, for ``overlap``.
        divisions: Windows per axis, for ``window: dynamic``.
        position_size: Side of the map for which the position tables are made.
        theta: Base of the frequencies of rope.
        features: Number of features, for ``performer``.
        feature_map: Feature map, for ``linear``.
        linformer_size: Number of mixtures, for ``linformer``.
        linformer_grid: Grid to which ``linformer`` averages keys and values first.
        hashes: Number of hash rounds, for ``reformer``.
        bucket_size: Length of a chunk, for ``reformer``.
        qkv_bias: Whether q, k and v have a bias.
        reduction: r of the local branch's squeeze-and-excitation. This and the next two are options of
            :class:`ImprovedLocalAttention`.
        fuse: How its convolutions are combined, ``sum`` or ``concat``.
        depthwise: Make its 3x3 and 5x5 convolutions depthwise.
        residual: Start as the identity: ``x + gamma * (y - x)``, gamma per channel, 0 at the start.

    Raises:
        ValueError: As the two branches, in their names, or if ``residual`` is not a bool.

    Deviations from the paper:
        1. The local branch adds a 5x5 convolution and squeeze-and-excitation to UNetFormer's 1x1 and 3x3.
        2. Attention is global by default, UNetFormer's is within windows. Its vertical and horizontal averages, which
           connect windows, are omitted; ``extent`` offers other ways to connect them.
        3. The output is the sum of the branches. UNetFormer applies a depthwise convolution, batch norm and a 1x1
           convolution to it.

    Deviations from the authors' code (WangLibo1995/GeoSeg@9453fe48): the same; and windows that reach beyond the map
        see only positions of the map, where theirs are padded by reflection.

    Limits: those of :class:`MultiHeadGlobalAttention` and :class:`ImprovedLocalAttention`.
    """

    def __init__(
        self,
        channels: int,
        heads: int = 8,
        kernel: str = "softmax",
        extent: str = "global",
        position: str = "relative",
        window: int | str = 8,
        windows: Sequence[int] = (4, 8, 16),
        shift: int | None = None,
        overlap: int = 2,
        divisions: int = 4,
        position_size: int = 20,
        theta: float | None = None,
        features: int = 64,
        feature_map: str = "elu",
        linformer_size: int = 64,
        linformer_grid: int | Sequence[int] = 16,
        hashes: int = 2,
        bucket_size: int = 64,
        qkv_bias: bool = False,
        reduction: int = 16,
        fuse: str = "sum",
        depthwise: bool = False,
        residual: bool = False,
    ) -> None:
        options = {name: value for name, value in locals().items() if name in ATTENTION_OPTIONS}
        super().__init__()
        self.attention = MultiHeadGlobalAttention(channels, **options)
        self.local = ImprovedLocalAttention(channels, reduction=reduction, fuse=fuse, depthwise=depthwise)
        self.residual = make_residual(channels, residual, "GlobalLocalAttention")

    def forward(self, x: Tensor) -> Tensor:
        return apply_residual(self.residual, x, self.local(x) + self.attention(x))
