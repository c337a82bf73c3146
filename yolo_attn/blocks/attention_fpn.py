"""AttentionFPN: a feature pyramid with attention; PyramidLevel selects one of its maps. Checked against loops."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from ..registry import register
from .functional import check_choice, check_divides, check_positive, check_positives, check_used, is_int, traced_value
from .global_context import GlobalContext
from .global_local import GlobalLocalAttention
from .nn.attention_kernels import LIMITS, PARTS_FORM
from .nn.residual import make_residual

WORKS = "attention: global_context can"
ATTENTIONS = ("global_local", "global_context", "none")
NEEDS = dict.fromkeys(
    ("heads", "kernel", "extent", "position", "window", "reduction", "depthwise"), ("attention", ("global_local",))
)


def fpn_channels(channels: list[int], options: dict[str, Any]) -> list[int]:
    """Return the output channels of :class:`AttentionFPN`."""
    out = options.get("out_width")
    return list(channels) if out is None else [out] * len(channels)


def level_channels(channels: list[int], options: dict[str, Any]) -> int:
    """Return the channels of the map that :class:`PyramidLevel` selects; raise ValueError if there is none."""
    level = options.get("level", 0)
    check_level(channels, level)
    return channels[level]


def check_level(channels: Sequence[int], level: object) -> None:
    """Raise ValueError unless ``level`` is an index of ``channels``."""
    if not is_int(level, least=0) or level >= len(channels):
        levels = f"levels: {list(range(len(channels)))}"
        raise ValueError(f"PyramidLevel: level={level!r} must be one of its {len(channels)} input maps; {levels}")


def check_maps(block: str, maps: Sequence[Tensor], channels: Sequence[int]) -> None:
    """Raise ValueError unless there is a map for each of ``channels``."""
    if len(maps) != len(channels):
        raise ValueError(
            f"{block}: maps={len(maps)} must be {len(channels)}, one for each of channels={list(channels)}"
        )


@register(
    "AttentionFPN",
    summary="Attend on a feature pyramid's maps.",
    paper="https://arxiv.org/abs/1612.03144",
    inputs="list",
    output=fpn_channels,
    pyramid=True,
    repeats="never",
    checked=("loop",),
    export_limits=tuple(
        replace(limit, options={**limit.options, "attention": ("global_local",)}, works=WORKS) for limit in LIMITS
    ),
    export_forms=(PARTS_FORM,),
)
class AttentionFPN(nn.Module):
    """Pass features from the smaller maps to the larger ones and attend within each; a list in, a list out.

    The pyramid of Lin et al., "Feature Pyramid Networks for Object Detection", CVPR 2017,
    https://arxiv.org/abs/1612.03144, Sec. 3, with attention on its maps. From the smallest map to the largest:
    ``m_i = L_i x_i + up(m_j)``, j the next smaller one, ``p_i = attention_i(S_i m_i)``, ``y_i = O_i p_i``. ``L`` are
    ``laterals``, 1x1 convolutions to one width; ``S`` are ``smooth``, 3x3; ``O`` are ``outs``, 1x1.

    Shape:
        x: a list of ``(B, C_i, H_i, W_i)``, C_i = ``channels[i]``, in any order of size; any sizes >= 1.
        returns: a list of ``(B, C_i, H_i, W_i)``, or of ``out_width`` each; same order, dtype and device.

    Args:
        channels: The C_i, one for each map.
        width: Channels inside the pyramid (d of the paper, theirs 256). None: the smallest of ``channels``, rounded up
            to a multiple of ``heads``.
        attention: Attention on each map: ``"global_local"``, a :class:`GlobalLocalAttention`; ``"global_context"``, a
            :class:`GlobalContext`, much cheaper; ``"none"``, the paper's pyramid.
        heads: Heads. Must divide ``width``. This and the next six are options of ``attention: global_local`` only.
        kernel: How keys are weighted.
        extent: Which keys a query sees. The default, ``window``, is affordable on the largest maps.
        position: How positions enter.
        window: Side of a window.
        reduction: r of the squeeze-and-excitation. Below the usual 16 of wide maps: the pyramid is as narrow as its
            narrowest map, and a hidden layer of one or two channels may pass nothing on.
        depthwise: Make the 3x3 and 5x5 convolutions depthwise. Each map has passed ``S`` already, and dense ones would
            be two thirds of the parameters.
        out_width: Channels of each output map, not scaled with the model (the paper's pyramid: 256). None: those of the
            input maps.
        residual: Start as the identity: ``x_i + gamma_i * (y_i - x_i)``, one gamma_i per channel, 0 at the start. Needs
            ``out_width`` None.

    Raises:
        ValueError: If ``channels`` is not a list of positive integers, another number is not a positive integer,
            ``heads`` does not divide ``width``, ``attention`` is unknown, an option has no effect with it, ``residual``
            is not a bool or is given with ``out_width``, or the number of maps is not that of ``channels``; and as
            :class:`GlobalLocalAttention`.

    Deviations from the paper:
        1. Attention on each map, and the 1x1 convolutions after it, which restore each map's channels: the layer fits
           between any backbone and neck.
        2. Maps are resized to the next larger one by nearest neighbour, whatever the ratio; the paper's ratio is two.

    Deviations from the authors' code: not compared.

    Limits:
        1. Of two maps of one size, the later one counts as the smaller.
        2. No norm and no activation of its own, as the paper; those of ``global_local`` are in that layer.
        3. Memory and time of ``extent: global`` are those of :class:`GlobalLocalAttention` on the largest map.
    """

    def __init__(
        self,
        channels: Sequence[int],
        width: int | None = None,
        attention: str = "global_local",
        heads: int = 8,
        kernel: str = "softmax",
        extent: str = "window",
        position: str = "relative",
        window: int | str = 8,
        reduction: int = 4,
        depthwise: bool = True,
        out_width: int | None = None,
        residual: bool = False,
    ) -> None:
        super().__init__()
        check_positives("AttentionFPN", "channels", channels)
        check_choice("AttentionFPN", "attention", attention, ATTENTIONS)
        check_positive("AttentionFPN", heads=heads)
        local = {"reduction": reduction, "depthwise": depthwise}
        options = {"heads": heads, "kernel": kernel, "extent": extent, "position": position, "window": window, **local}
        check_used(type(self), NEEDS, attention=attention, **options)
        width = -(-min(channels) // heads) * heads if width is None else width
        check_positive("AttentionFPN", width=width, **({} if out_width is None else {"out_width": out_width}))
        if attention == "global_local":
            check_divides("AttentionFPN", "heads", heads, "width", width)
        outs = fpn_channels(list(channels), {"out_width": out_width})
        if residual is True and out_width is not None:
            raise ValueError(
                f"AttentionFPN: residual=True must keep the maps' channels={list(channels)}, but "
                f"out_width={out_width}; out_width=None does, or residual=False"
            )
        self.channels = list(channels)
        self.laterals = nn.ModuleList(nn.Conv2d(c, width, 1) for c in channels)
        self.smooth = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in channels)
        self.attentions = nn.ModuleList(
            GlobalLocalAttention(width, **options)  # type: ignore[arg-type]
            if attention == "global_local"
            else GlobalContext(width)
            if attention == "global_context"
            else nn.Identity()
            for _ in channels
        )
        self.outs = nn.ModuleList(nn.Conv2d(width, c, 1) for c in outs)
        scales = [make_residual(c, residual, "AttentionFPN") for c in channels]
        self.residual = nn.ModuleList(s for s in scales if s is not None) if residual else None

    def forward(self, x: Sequence[Tensor]) -> list[Tensor]:
        check_maps("AttentionFPN", x, self.channels)
        merged = self._merged([lateral(m) for lateral, m in zip(self.laterals, x, strict=True)])
        layers = zip(self.smooth, self.attentions, self.outs, merged, strict=True)
        y = [out(attention(smooth(m))) for smooth, attention, out, m in layers]  # B C_i H_i W_i
        y = [b.to(a.dtype) for a, b in zip(x, y, strict=True)]
        return y if self.residual is None else [r(a, b) for r, a, b in zip(self.residual, x, y, strict=True)]

    def _merged(self, maps: list[Tensor]) -> list[Tensor]:
        """Add each map, resized, to the next larger one, starting with the smallest."""
        for larger, smaller in reversed(list(pairwise(largest_first(maps)))):
            size, above = maps[larger].shape[2:], maps[smaller]
            if any(traced_value(a) != traced_value(b) for a, b in zip(above.shape[2:], size, strict=True)):
                above = F.interpolate(above, size=size, mode="nearest")
            maps[larger] = maps[larger] + above  # B D H_i W_i
        return maps


def largest_first(maps: Sequence[Tensor]) -> list[int]:
    """Return the indices of the maps, those of the largest first; of two of one size, the later one counts as smaller.

    The comparisons are written out because ``torch.compile`` breaks a graph at ``sorted``.
    """
    sizes = [traced_value(m.shape[2]) * traced_value(m.shape[3]) for m in maps]
    order: list[int] = []
    for n, size in enumerate(sizes):
        at = len(order)
        while at and sizes[order[at - 1]] < size:
            at -= 1
        order.insert(at, n)
    return order


@register(
    "PyramidLevel",
    summary="Select one map of a pyramid.",
    paper="https://arxiv.org/abs/1612.03144",
    inputs="pyramid",
    output=level_channels,
    repeats="never",
    positional=("level",),
)
class PyramidLevel(nn.Module):
    """Select one map of the list that another layer returns, so that rows of a model YAML can use it.

    The pyramid is that of Lin et al., CVPR 2017, https://arxiv.org/abs/1612.03144: ``y = x_level``. After a row of
    :class:`AttentionFPN` with three inputs, such as ``[[4, 6, 10], 1, AttentionFPN, []]``, add one row for each map you
    need: ``[-1, 1, PyramidLevel, [0]]``, ``[-2, 1, PyramidLevel, [1]]`` and so on.

    Shape:
        x: a list of ``(B, C_i, H_i, W_i)``, C_i = ``channels[i]``.
        returns: ``x[level]`` itself.

    Args:
        channels: The C_i, one for each map of the list.
        level: Index of the map in the list, from 0.

    Raises:
        ValueError: If ``channels`` is not a list of positive integers, ``level`` is not an index of it, or the number
            of maps is not that of ``channels``.

    Deviations from the paper: none; it has no such layer.

    Deviations from the authors' code: none.

    Limits:
        1. It has no parameters, so it has nothing to train and no option ``residual``.
    """

    def __init__(self, channels: Sequence[int], level: int = 0) -> None:
        super().__init__()
        check_positives("PyramidLevel", "channels", channels)
        check_level(channels, level)
        self.channels = list(channels)
        self.level = level

    def forward(self, x: Sequence[Tensor]) -> Tensor:
        check_maps("PyramidLevel", x, self.channels)
        return x[self.level]
