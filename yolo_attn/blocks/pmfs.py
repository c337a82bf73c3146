"""PMFS: polarized multi-scale self-attention over one map or a list. Checked against outputs of the authors' code."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..registry import ExportLimit, register
from .functional import check_choice, check_positive, check_positives, max_pool, resize_by_max
from .nn.conv_norm import ConvNormReLU, SeparableConv
from .nn.polarized import MakeConvolution, PolarizedChannelAttention, PolarizedPositionAttention
from .nn.residual import apply_residual, make_residual

PAPER = "https://arxiv.org/abs/2401.07579"
FLAT = {"dim": "2d"}  # the maps of a YOLO


def convolution_of(block: str, form: str, dim: str) -> MakeConvolution:
    """Return a function that builds the convolutions of ``form``; raise ValueError if that or ``dim`` is unknown."""
    check_choice(block, "form", form, ("separable", "conv"))
    check_choice(block, "dim", dim, ("2d", "3d"))
    cls = SeparableConv if form == "separable" else ConvNormReLU
    return lambda c1, c2, kernel_size: cls(c1, c2, kernel_size, dim)


EINSUM_OPSET = ExportLimit(opset=12, reason="ONNX has Einsum from there on")


@register(
    "PMFS",
    summary="Attend to maps of several scales.",
    paper=PAPER,
    fixed=FLAT,
    inputs="list",
    checked=("authors", "loop"),
    export_limits=(EINSUM_OPSET,),
)
class PMFS(PolarizedChannelAttention, PolarizedPositionAttention):
    """Resize maps of several scales to the last one, combine them, and attend over channels, then positions.

    Zhong et al., "PMFSNet: Polarized Multi-scale Feature Self-attention Network For Lightweight Medical Image
    Segmentation", 2024, https://arxiv.org/abs/2401.07579, the PMFS block: ``x = concat(F_i(resize(x_i)))``; over
    channels ``v = V x * sigmoid(LN(W (Q x . softmax_N(K x))))``; over positions
    ``u_b = V_b v * sigmoid(softmax_k(mean_bN(K_b v)) . Q_b v)`` for each of ``br`` groups b; ``y = O2 O1 concat(u_b)``.
    ``F_i`` is ``branches[i]``; Q, K, V are ``channel_*`` and ``spatial_*``; W is ``channel_score``; ``O1`` is
    ``spatial_out`` and ``O2`` is ``out``. All but W and LN are convolutions with batch norm and ReLU.

    Shape:
        x: a list of ``(B, C_i, H_i, W_i)``, C_i = ``channels[i]``, one map or more; any sizes, in any order of
            resolution. With ``dim="3d"`` each has a depth before H.
        returns: ``(B, C_n, H_n, W_n)``, that of the last input; same dtype and device.

    Args:
        channels: C_i, one for each input map.
        ch: Channels of each branch.
        ch_k: Channels of a query or key in a spatial group. None: ``ch``.
        ch_v: Channels of a value in a spatial group. None: ``ch``.
        br: Groups of the attention over positions. None: one for each input map, as in the paper.
        dim: ``"2d"`` or ``"3d"``. Always ``"2d"`` in a model YAML.
        max_pool_kernels: Kernel (= stride) of a max pooling of each input before all else; the output then has the size
            of the last input after pooling. None: no pooling; each map is only resized to the last one.
        form: Convolutions of the authors' two blocks: ``"separable"`` (batch norm, ReLU, depthwise, pointwise; the
            paper's, ``GlobalPMFSBlock_AP_Separate``) or ``"conv"`` (convolution, batch norm, ReLU;
            ``GlobalPMFSBlock_AP``).
        fusion: How the branches are combined: ``"concat"`` (theirs), or ``"weighted"``, the sum ``sum_i(w_i F_i(x_i))``
            with ``w = softmax(a)``: learned weights, never negative, of sum 1 and equal at the start. All later layers
            then have ``ch`` channels, not ``ch * len(channels)``. Needs two inputs or more.
        statistics: How a channel is summarised over all positions: ``"softmax"`` (theirs), the sum
            ``Q x . softmax_N(K x)``, or ``"mean_var"``: ``W (...)`` becomes ``W mean_N(Q x) + W2 var_N(Q x)``, with W2
            ``channel_variance`` and without K.
        residual: Start as the identity: ``x_n + gamma * (PMFS(x) - x_n)``, x_n the last map after its pooling, one
            gamma per channel, 0 at the start.

    Raises:
        ValueError: If ``channels`` or ``max_pool_kernels`` is not a list of positive integers, they differ in length,
            another number is not a positive integer, a choice is unknown, ``fusion`` is weighted for one input,
            ``residual`` is not a bool, or ``forward`` gets another number of maps than ``channels`` has.

    Deviations from the paper: those from the authors' code; the order of operations is that code's.

    Deviations from the authors' code (yykzjh/PMFSNet@edad19a9, ``GlobalPMFSBlock_AP_Separate``;
    yykzjh/PMFSNet-old@66568d6f, ``GlobalPMFSBlock_AP``):
        1. Without kernels a larger map is max-pooled to the last one's size (whole multiples: kernel = stride; others:
           adaptive pooling) and a smaller one is repeated. Theirs needs kernels that fit.
        2. ``br`` may differ from the number of inputs: the branches together have ``ch * len(channels)`` channels, not
           ``ch * br``. The same where the two are equal; theirs fails otherwise.
        3. ``ch_v`` may differ from ``ch_k``; theirs reshapes the values with ``ch_k`` and fails.
        4. ``fusion: weighted`` and ``statistics: mean_var`` are not in their code. The weighted branches are added, not
           concatenated: a batch norm right after a concatenation would remove the weights.
        5. W, LN and the statistics ``mean_var`` are computed in float32 also under autocast and in half precision.

    Limits:
        1. If training sees one value per channel (batch 1 and a last map of one position), batch norms use their
           running statistics.
        2. With batch 1 in train mode the next batch norm undoes the scaling by the attention over channels (in the
           separable form), so it learns from batches of 2 or more.
        3. Sizes that are no whole multiples need adaptive pooling, which the ONNX exporter without dynamo lacks.
    """

    def __init__(
        self,
        channels: Sequence[int],
        ch: int = 64,
        ch_k: int | None = None,
        ch_v: int | None = None,
        br: int | None = None,
        dim: str = "2d",
        max_pool_kernels: Sequence[int] | None = None,
        form: str = "separable",
        fusion: str = "concat",
        statistics: str = "softmax",
        residual: bool = False,
    ) -> None:
        super().__init__()
        block = type(self).__name__
        check_positives(block, "channels", channels)
        ch_k = ch if ch_k is None else ch_k
        ch_v = ch if ch_v is None else ch_v
        br = len(channels) if br is None else br
        check_positive(block, ch=ch, ch_k=ch_k, ch_v=ch_v, br=br)
        conv = convolution_of(block, form, dim)
        check_choice(block, "fusion", fusion, ("concat", "weighted"))
        check_choice(block, "statistics", statistics, ("softmax", "mean_var"))
        if fusion == "weighted" and len(channels) == 1:
            raise ValueError(f"{block}: fusion='weighted' has no effect with one input; it works with two or more")
        if max_pool_kernels is not None:
            check_positives(block, "max_pool_kernels", max_pool_kernels)
            if len(max_pool_kernels) != len(channels):
                raise ValueError(
                    f"{block}: max_pool_kernels={list(max_pool_kernels)} must have one kernel for each of the "
                    f"{len(channels)} inputs; without kernels maps are resized to the last one"
                )
        self.max_pool_kernels = None if max_pool_kernels is None else tuple(max_pool_kernels)
        width = ch if fusion == "weighted" else ch * len(channels)
        self.branches = nn.ModuleList(conv(c, ch, 3) for c in channels)
        self.fusion_logit_scale = nn.Parameter(torch.zeros(len(channels))) if fusion == "weighted" else None
        self.add_channel_attention(width, conv, statistics)
        self.add_position_attention(width, ch_k, ch_v, br, conv)
        self.out = conv(width, channels[-1], 3)
        self.residual = make_residual(channels[-1], residual, block)

    def forward(self, x: Sequence[Tensor]) -> Tensor:
        maps = list(x)
        if isinstance(x, Tensor) or len(maps) != len(self.branches):
            given = "one tensor" if isinstance(x, Tensor) else f"{len(maps)} maps"
            raise ValueError(
                f"{type(self).__name__}: input={given} must be a list of {len(self.branches)}; "
                "in a model YAML, give 'from' as a list of layers"
            )
        if self.max_pool_kernels is not None:
            maps = [max_pool(m, [k] * (m.ndim - 2)) for m, k in zip(maps, self.max_pool_kernels, strict=True)]
        size = maps[-1].shape[2:]
        joined = self._joined([f(resize_by_max(m, size)) for f, m in zip(self.branches, maps, strict=True)])  # B D H W
        return apply_residual(self.residual, maps[-1], self.out(self.attend_positions(self.attend_channels(joined))))

    def _joined(self, features: list[Tensor]) -> Tensor:
        if self.fusion_logit_scale is None:
            return torch.cat(features, 1)
        weights = self.fusion_logit_scale.softmax(0).to(features[0].dtype)
        weighted = [w * f for w, f in zip(weights.unbind(0), features, strict=True)]
        return functools.reduce(torch.add, weighted)  # ncnn cannot stack along the batch axis


@register("PMFSChannel", summary="Gate channels as PMFS does.", paper=PAPER, fixed=FLAT, checked=("loop",))
class PMFSChannel(PolarizedChannelAttention):
    """Gate each channel by a score from all positions: the first half of PMFS's attention.

    Zhong et al., "PMFSNet", 2024, https://arxiv.org/abs/2401.07579, polarized channel attention:
    ``y = V x * sigmoid(LN(W (Q x . softmax_N(K x))))``. The parameters have the same names as in PMFS.

    Shape:
        x: ``(B, C, H, W)``, C = ``channels``; any H, W >= 1. With ``dim="3d"`` a depth before H.
        returns: the same; same dtype and device.

    Args:
        channels: C.
        form: Convolutions: ``"separable"`` or ``"conv"``, as in :class:`PMFS`.
        statistics: How a channel is summarised: ``"softmax"`` or ``"mean_var"``, as in :class:`PMFS`.
        dim: ``"2d"`` or ``"3d"``. Always ``"2d"`` in a model YAML.
        residual: Start as the identity: ``x + gamma * (PMFSChannel(x) - x)``, gamma per channel, 0 at the start.

    Raises:
        ValueError: If ``channels`` is not a positive integer, a choice is unknown, or ``residual`` is not a bool.

    Deviations from the paper, from the authors' code (yykzjh/PMFSNet@edad19a9):
        1. A layer of its own; theirs is part of the block, after the combined branches and before the attention over
           positions. Its operations are the same.
        2. ``statistics: mean_var`` is not in their code.

    Limits:
        1. If training sees one value per channel (batch 1 and a 1x1 map), batch norms use their running statistics.
        2. On a 1x1 map the softmax over positions is 1 and the variance is 0.
    """

    def __init__(
        self,
        channels: int,
        form: str = "separable",
        statistics: str = "softmax",
        dim: str = "2d",
        residual: bool = False,
    ) -> None:
        super().__init__()
        check_positive("PMFSChannel", channels=channels)
        check_choice("PMFSChannel", "statistics", statistics, ("softmax", "mean_var"))
        self.add_channel_attention(channels, convolution_of("PMFSChannel", form, dim), statistics)
        self.residual = make_residual(channels, residual, "PMFSChannel")

    def forward(self, x: Tensor) -> Tensor:
        return apply_residual(self.residual, x, self.attend_channels(x))


@register(
    "PMFSSpatial",
    summary="Gate positions as PMFS does.",
    paper=PAPER,
    fixed=FLAT,
    checked=("loop",),
    export_limits=(EINSUM_OPSET,),
)
class PMFSSpatial(PolarizedPositionAttention):
    """Gate each position by a score from its own queries: the second half of PMFS's attention.

    Zhong et al., "PMFSNet", 2024, https://arxiv.org/abs/2401.07579, polarized spatial attention:
    ``u_b = V_b x * sigmoid(softmax_k(mean_bN(K_b x)) . Q_b x)`` for each of ``br`` groups b, ``y = O concat(u_b)``.
    The parameters have the same names as in PMFS; O is ``spatial_out``.

    Shape:
        x: ``(B, C, H, W)``, C = ``channels``; any H, W >= 1. With ``dim="3d"`` a depth before H.
        returns: the same; same dtype and device.

    Args:
        channels: C.
        br: Groups b. They share one key; each has a score of its own.
        ch_k: Channels of a query or key in a group. None: ``channels // br``, at least 1.
        ch_v: Channels of a value in a group. None: ``channels // br``, at least 1.
        form: Convolutions: ``"separable"`` or ``"conv"``, as in :class:`PMFS`.
        dim: ``"2d"`` or ``"3d"``. Always ``"2d"`` in a model YAML.
        residual: Start as the identity: ``x + gamma * (PMFSSpatial(x) - x)``, gamma per channel, 0 at the start.

    Raises:
        ValueError: If a number is not a positive integer, a choice is unknown, or ``residual`` is not a bool.

    Deviations from the paper, from the authors' code (yykzjh/PMFSNet@edad19a9):
        1. A layer of its own; theirs is part of the block, after the attention over channels and before the last
           convolution. Its operations are the same.
        2. ``ch_v`` may differ from ``ch_k``, and ``br`` need not divide ``channels``.

    Limits:
        1. If training sees one value per channel (batch 1 and a 1x1 map), batch norms use their running statistics.
        2. With ``ch_k`` 1 the softmax over the key is constantly 1, so the key has no effect.
    """

    def __init__(
        self,
        channels: int,
        br: int = 1,
        ch_k: int | None = None,
        ch_v: int | None = None,
        form: str = "separable",
        dim: str = "2d",
        residual: bool = False,
    ) -> None:
        super().__init__()
        check_positive("PMFSSpatial", channels=channels, br=br)
        ch_k = max(1, channels // br) if ch_k is None else ch_k
        ch_v = max(1, channels // br) if ch_v is None else ch_v
        check_positive("PMFSSpatial", ch_k=ch_k, ch_v=ch_v)
        self.add_position_attention(channels, ch_k, ch_v, br, convolution_of("PMFSSpatial", form, dim))
        self.residual = make_residual(channels, residual, "PMFSSpatial")

    def forward(self, x: Tensor) -> Tensor:
        return apply_residual(self.residual, x, self.attend_positions(x))


class _AuthorsArguments(PMFS):
    """Accept the authors' arguments and the short form, for both of their blocks."""

    _form = "separable"

    def __init__(
        self,
        in_channels: Sequence[int],
        max_pool_kernels: Sequence[int] | None = None,
        ch: int | None = None,
        ch_k: int | None = None,
        ch_v: int | None = None,
        br: int | None = None,
        dim: str | None = None,
        *,
        out_ch_base: int | None = None,
        ch_aggr: int | None = None,
    ) -> None:
        block = type(self).__name__
        check_positives(block, "in_channels", in_channels)
        width = ch if ch_aggr is None else ch_aggr
        if width is None or (ch is not None and ch_aggr is not None):
            raise ValueError(
                f"{block}: ch={ch}, ch_aggr={ch_aggr} must be one number; give ch (the authors' name) or ch_aggr"
            )
        if out_ch_base is not None and out_ch_base != in_channels[-1]:
            raise ValueError(
                f"{block}: out_ch_base={out_ch_base} must be the last input's channels; "
                f"out_ch_base={in_channels[-1]} or omit it"
            )
        if dim is None:
            dim = "2d" if max_pool_kernels is None else "3d"
        super().__init__(in_channels, width, ch_k, ch_v, br, dim, max_pool_kernels, self._form)


class GlobalPMFSBlock_AP_Separate(_AuthorsArguments):  # noqa: N801  the authors' name
    """Build :class:`PMFS` with separable convolutions from the authors' arguments, or from a short form.

    The authors' form is ``(in_channels, max_pool_kernels, ch, ch_k, ch_v, br, dim)``. The short form is
    ``(in_channels, out_ch_base=..., ch_aggr=..., br=...)``: no kernels, and one width for branches, queries, keys and
    values.

    Args:
        in_channels: C_i, one for each input map.
        max_pool_kernels: Kernel (= stride) of the max pooling of each input.
        ch: Channels of each branch.
        ch_k: Channels of a query or key in a spatial group. None: ``ch``.
        ch_v: Channels of a value in a spatial group. None: ``ch``.
        br: Groups of the attention over positions. None: one for each input map.
        dim: ``"2d"`` or ``"3d"``. None: the authors' ``"3d"`` if ``max_pool_kernels`` are given, else ``"2d"``.
        out_ch_base: Output channels of the short form. Must be the last input's channels.
        ch_aggr: The short form's name for ``ch``.
    """


class GlobalPMFSBlock_AP(_AuthorsArguments):  # noqa: N801  the authors' name
    """Build :class:`PMFS` with plain convolutions from the authors' arguments."""

    _form = "conv"
