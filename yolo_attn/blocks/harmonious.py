"""Harmonious attention: soft (positions and channels) and hard (regions). Checked against outputs of the authors' code.

For person re-identification the authors crop regions and feed them to a second stream of the network with its own
classifier. The gate map and the positions of the regions are theirs. The layer form is ours (``apply=True``, always set
in a model YAML): it gates its input, processes each region and pastes the result back where it was cut.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..registry import ExportLimit, register
from .functional import check_bool, check_choice, check_positive, check_used, in_float32, mean_in_float32
from .nn.conv_norm import Float32ConvNorm
from .nn.regions import RegionBottleneck
from .nn.residual import apply_residual, make_residual

PAPER = "https://arxiv.org/abs/1802.08122"
LAYER = {"apply": True}  # what a row always gets
REGION_LIMITS = (
    ExportLimit(opset=16, reason="ONNX has GridSample from there on"),
    ExportLimit(
        formats=("torch.export",),
        dynamic=True,
        reason="torch.export cannot prove that regions have a height at every size",
        works="SoftAttn can",
    ),
    ExportLimit(formats=("ncnn",), reason="ncnn cannot put the regions on the batch axis", works="SoftAttn can"),
)
RESIZE_LIMIT = ExportLimit(opset=11, reason="ONNX resizes with align_corners from there on")
SCALES = ("fixed", "learnable")
NEEDS = dict.fromkeys(("relu_before_sigmoid", "local_reduction", "residual"), ("apply", (True,)))


def check_needs_apply(block: type, apply: bool, **options: object) -> None:
    """Raise ValueError if ``apply`` is not a bool, or is false and an option is given that needs it."""
    check_bool(block.__name__, apply=apply)
    check_used(block, {name: NEEDS[name] for name in options}, apply=apply, **options)


@register(
    "SpatialAttn",
    summary="Gate positions by channel means.",
    paper=PAPER,
    fixed=LAYER,
    checked=("authors", "loop"),
    export_limits=(RESIZE_LIMIT,),
)
class SpatialAttn(nn.Module):
    """Gate each position, all channels alike, by the mean over the channels.

    Li, Zhu and Gong, "Harmonious Attention Network for Person Re-Identification", CVPR 2018,
    https://arxiv.org/abs/1802.08122, Sec. 3.1: ``S = BN(F1 up(relu(BN(F3 mean_C(x)))))``, ``y = x * sigmoid(S)``.
    ``F3``, 3x3 with stride 2, is ``conv1``, ``up`` is bilinear, ``F1``, one number, is ``conv2``.

    Shape:
        x: ``(B, C, H, W)``; any C, H, W >= 1.
        returns: ``(B, C, H, W)``, same dtype and device; without ``apply`` the map ``relu(S)``, ``(B, 1, H, W)``.

    Args:
        channels: C. Only ``residual`` needs it; the authors' class has no argument.
        apply: Gate the input. False, the authors' form, returns the bare map. Always true in a model YAML.
        relu_before_sigmoid: Gate with ``sigmoid(relu(S))``, which is never below 0.5. Needs ``apply``.
        residual: Start as the identity: ``x + gamma * (y - x)``, gamma per channel, 0 at the start. Needs ``apply``.

    Raises:
        ValueError: If ``channels`` is not a positive integer, another argument is not a bool, or an option is given
            without ``apply`` or ``residual`` without ``channels``.

    Deviations from the paper:
        1. As a layer it gates its input (``apply``); in the paper it is one factor of SoftAttn.

    Deviations from the authors' code (KaiyangZhou/deep-person-reid@f8cd150f, torchreid/models/hacnn.py):
        1. The strided map is resized to exactly H x W. Theirs is resized to twice its own size, H + 1 for an odd H.
           Equal at even sizes (bilinear, ``align_corners=True``).
        2. It trains with one image on maps of up to 2x2, where theirs raises (see Limits).
        3. The gate is computed in float32 also under autocast and in a half precision model.

    Limits:
        1. If training sees one value (batch 1 on a map of up to 2x2), the norm of ``conv1`` uses its running
           statistics.
    """

    def __init__(
        self,
        channels: int | None = None,
        apply: bool = False,
        relu_before_sigmoid: bool = False,
        residual: bool = False,
    ) -> None:
        super().__init__()
        if channels is not None:
            check_positive("SpatialAttn", channels=channels)
        elif residual is True:
            raise ValueError("SpatialAttn: channels=None must be given with residual=True; channels=64 for 64 channels")
        check_bool("SpatialAttn", relu_before_sigmoid=relu_before_sigmoid)
        check_needs_apply(SpatialAttn, apply, relu_before_sigmoid=relu_before_sigmoid, residual=residual)
        self.applies = apply
        self.relu_before_sigmoid = relu_before_sigmoid
        self.conv1 = Float32ConvNorm(1, 1, 3, 2)
        self.conv2 = Float32ConvNorm(1, 1)
        self.residual = make_residual(channels or 1, residual, "SpatialAttn")

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` gated, or the bare map."""
        s = self.logits(x)  # B 1 H W
        if not self.applies:
            return s.relu().to(x.dtype)
        return apply_residual(self.residual, x, x * (s.relu() if self.relu_before_sigmoid else s).sigmoid().to(x.dtype))

    def logits(self, x: Tensor) -> Tensor:
        """Return S, ``(B, 1, H, W)``, in float32 or float64."""
        s = self.conv1(mean_in_float32(x, 1)).relu()  # B 1 H/2 W/2, rounded up
        s = F.interpolate(s, size=x.shape[2:], mode="bilinear", align_corners=True)  # B 1 H W
        return self.conv2(s)


@register("ChannelAttn", summary="Gate channels by their means.", paper=PAPER, fixed=LAYER, checked=("authors", "loop"))
class ChannelAttn(nn.Module):
    """Gate each channel by the means of all channels.

    Li, Zhu and Gong, "Harmonious Attention Network for Person Re-Identification", CVPR 2018,
    https://arxiv.org/abs/1802.08122, Sec. 3.1: ``K = BN(W2 relu(BN(W1 mean_HW(x))))``, ``y = x * sigmoid(K)``.
    ``W1`` is ``conv1``, ``W2`` is ``conv2``.

    Shape:
        x: ``(B, C, H, W)``, C = ``channels``; any H, W >= 1.
        returns: ``(B, C, H, W)``, same dtype and device; without ``apply`` the map ``relu(K)``, ``(B, C, 1, 1)``.

    Args:
        channels: C.
        reduction: r of the paper (their default 16): C / r channels after ``W1``, rounded down, at least 1.
        apply: Gate the input. False, the authors' form, returns the bare map. Always true in a model YAML.
        relu_before_sigmoid: Gate with ``sigmoid(relu(K))``, which is never below 0.5. Needs ``apply``.
        residual: Start as the identity: ``x + gamma * (y - x)``, gamma per channel, 0 at the start. Needs ``apply``.

    Raises:
        ValueError: If a number is not a positive integer, another argument is not a bool, or an option is given without
            ``apply``.

    Deviations from the paper:
        1. As a layer it gates its input (``apply``); in the paper it is one factor of SoftAttn.

    Deviations from the authors' code (KaiyangZhou/deep-person-reid@f8cd150f, torchreid/models/hacnn.py):
        1. ``reduction`` need not divide ``channels`` and may exceed it; theirs raises.
        2. It trains with one image, where theirs raises (see Limits).
        3. The gate is computed in float32 also under autocast and in a half precision model.

    Limits:
        1. Training with batch 1 sees one value per channel: the batch norms use their running statistics and do not
           update them.
        2. Training with batch 2 sees two, which a batch norm maps to +1 and -1: the gates hardly depend on how far
           apart the samples are.
    """

    def __init__(
        self,
        channels: int,
        reduction: int = 16,
        apply: bool = False,
        relu_before_sigmoid: bool = False,
        residual: bool = False,
    ) -> None:
        super().__init__()
        check_positive("ChannelAttn", channels=channels, reduction=reduction)
        check_bool("ChannelAttn", relu_before_sigmoid=relu_before_sigmoid)
        check_needs_apply(ChannelAttn, apply, relu_before_sigmoid=relu_before_sigmoid, residual=residual)
        self.applies = apply
        self.relu_before_sigmoid = relu_before_sigmoid
        width = max(1, channels // reduction)
        self.conv1 = Float32ConvNorm(channels, width)
        self.conv2 = Float32ConvNorm(width, channels)
        self.residual = make_residual(channels, residual, "ChannelAttn")

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` gated, or the bare map."""
        k = self.logits(x)  # B C 1 1
        if not self.applies:
            return k.relu().to(x.dtype)
        return apply_residual(self.residual, x, x * (k.relu() if self.relu_before_sigmoid else k).sigmoid().to(x.dtype))

    def logits(self, x: Tensor) -> Tensor:
        """Return K, ``(B, C, 1, 1)``, in float32 or float64."""
        return self.conv2(self.conv1(mean_in_float32(x, (2, 3))).relu())


@register(
    "SoftAttn",
    summary="Gate every value of the map.",
    paper=PAPER,
    fixed=LAYER,
    checked=("authors", "loop"),
    export_limits=(RESIZE_LIMIT,),
)
class SoftAttn(nn.Module):
    """Gate every position of every channel by the product of a spatial map and a channel vector.

    Li, Zhu and Gong, "Harmonious Attention Network for Person Re-Identification", CVPR 2018,
    https://arxiv.org/abs/1802.08122, Sec. 3.1: ``A = sigmoid(BN(F (relu(S) * relu(K))))``, ``y = x * A``. S is
    ``spatial_attn``, K is ``channel_attn``, ``F``, 1x1, is ``conv``.

    Shape:
        x: ``(B, C, H, W)``, C = ``channels``; any H, W >= 1.
        returns: ``(B, C, H, W)``, same dtype and device: y, or without ``apply`` the gate map A.

    Args:
        channels: C.
        reduction: r, as in ChannelAttn.
        apply: Gate the input. False, the authors' form, returns the gate map. Always true in a model YAML.
        relu_before_sigmoid: Put a ReLU before the sigmoid, like the authors' code: no gate is then below 0.5.
        residual: Start as the identity: ``x + gamma * (y - x)``, gamma per channel, 0 at the start. Needs ``apply``.

    Raises:
        ValueError: If a number is not a positive integer, another argument is not a bool, or ``residual`` is given
            without ``apply``.

    Deviations from the paper: none beyond those from the authors' code.

    Deviations from the authors' code (KaiyangZhou/deep-person-reid@f8cd150f, torchreid/models/hacnn.py):
        1. No ReLU before the last sigmoid, so a gate can close; theirs is never below 0.5.
           ``relu_before_sigmoid: true`` gives theirs.
        2. Odd sizes, batch 1 and any ``reduction`` work, as in SpatialAttn and ChannelAttn; theirs returns a map of
           H + 1 for an odd H, which does not fit the input.
        3. ``F`` runs on the vector, before the product: the same sum, with C * C products per sample, not per position.
        4. The gate is computed in float32 also under autocast and in a half precision model.

    Limits:
        1. Training with batch 1, the batch norms of ``channel_attn`` use their running statistics; on a 1x1 map all do.
    """

    def __init__(
        self,
        channels: int,
        reduction: int = 16,
        apply: bool = False,
        relu_before_sigmoid: bool = False,
        residual: bool = False,
    ) -> None:
        super().__init__()
        check_positive("SoftAttn", channels=channels, reduction=reduction)
        check_bool("SoftAttn", relu_before_sigmoid=relu_before_sigmoid)
        check_needs_apply(SoftAttn, apply, residual=residual)
        self.applies = apply
        self.relu_before_sigmoid = relu_before_sigmoid
        self.spatial_attn = SpatialAttn()
        self.channel_attn = ChannelAttn(channels, reduction)
        self.conv = Float32ConvNorm(channels, channels)
        self.residual = make_residual(channels, residual, "SoftAttn")

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` gated, or the gate map."""
        gate = self.gate(x)
        return apply_residual(self.residual, x, x * gate) if self.applies else gate

    def gate(self, x: Tensor) -> Tensor:
        """Return the gate map, ``(B, C, H, W)``, dtype of ``x``."""
        s = self.spatial_attn.logits(x).relu()  # B 1 H W
        k = self.channel_attn.logits(x).relu()  # B C 1 1
        conv: nn.Conv2d = self.conv.conv
        with torch.autocast(x.device.type, enabled=False):
            assert conv.bias is not None, "the authors' convolution has one"
            bias = conv.bias.to(k.dtype).reshape(1, -1, 1, 1)
            # a layer of another class does more, such as rounding in a quantization-aware training: it must be called
            v = F.conv2d(k, conv.weight.to(k.dtype)) if type(conv) is nn.Conv2d else conv(k) - bias  # B C 1 1
            a = in_float32(self.conv.bn, s * v + bias)  # B C H W
            return (a.relu() if self.relu_before_sigmoid else a).sigmoid().to(x.dtype)


@register(
    "HardAttn",
    summary="Process a few regions separately.",
    paper=PAPER,
    fixed=LAYER,
    checked=("authors", "loop"),
    export_limits=REGION_LIMITS,
)
class HardAttn(nn.Module):
    """Find n regions of the map, process each one, and add the result where the region was cut.

    Li, Zhu and Gong, "Harmonious Attention Network for Person Re-Identification", CVPR 2018,
    https://arxiv.org/abs/1802.08122, Sec. 3.1: Theirs: (u, v) of region i, from -1 to 1, lies at
    ``x' = s_x u + t_x``, ``y' = s_y v + t_y`` of the map, with ``t = tanh(fc(mean_HW(x)))`` and (s_x, s_y) = (1, 1/n).
    Ours: ``y = x + sum_i paste_i(L(cut_i(x)))``. ``L`` is ``local``: 1x1, batch norm, ReLU, 3x3, batch norm, ReLU, 1x1,
    shared by all regions; ``cut_i`` samples the region at ceil(H / n) x W cells, ``paste_i`` is the inverse transform.

    To draw the regions of a built detector, compute them from the layer's input::

        layer = next(m for m in model.modules() if isinstance(m, HardAttn))
        seen = []
        handle = layer.register_forward_pre_hook(lambda module, args: seen.append(module.boxes(args[0])))
        model(images)  # (B, 3, height, width)
        handle.remove()
        boxes = seen[0] * torch.tensor([width, height, width, height])  # B n 4, in pixels

    Shape:
        x: ``(B, C, H, W)``, C = ``channels``; any H, W >= 1, also H below n.
        returns: ``(B, C, H, W)``, same dtype and device; without ``apply`` the translations (t_x, t_y), ``(B, n, 2)``.

    Args:
        channels: C.
        regions: n (theirs: 4). At the start ``fc`` gives region i the position (0, (2i + 1) / n - 1), before the tanh.
        scale: ``"fixed"``, theirs, or ``"learnable"``: s times 2 to the power of ``tanh(fc_scale(mean_HW(x)))``, which
            is 1 at the start.
        local_reduction: C divided by the channels of the 3x3 convolution of ``local``, rounded down, at least 1. Needs
            ``apply``.
        apply: Add the processed regions. False, the authors' form, returns the translations, without ``local``. Always
            true in a model YAML.
        residual: Start as the identity: ``x + gamma * (y - x)``, gamma per channel, 0 at the start. Needs ``apply``.

    Raises:
        ValueError: If a number is not a positive integer, ``scale`` is unknown, another argument is not a bool, or an
            option is given without ``apply``.

    Deviations from the paper:
        1. A detector needs a map: the processed regions are pasted back. Theirs feed a stream that classifies.
        2. Any number of regions, and ``scale: learnable``.

    Deviations from the authors' code (KaiyangZhou/deep-person-reid@f8cd150f, torchreid/models/hacnn.py):
        1. A region is sampled once, at its own resolution; theirs is sampled at the map's size, then resized.
        2. ``align_corners=False`` and zeros outside the map are explicit, not left to the version of torch: -1 and 1
           are the map's edges.
        3. Translations, scales and sampling are in float32 also under autocast and in a half precision model.

    Limits:
        1. The tanh moves the start inwards: at n = 4 to t_y = -0.64, -0.24, 0.24, 0.64. The regions overlap and leave
           6 % of the map free at the top and at the bottom.
        2. A region fades over half a cell on either side of its edge. Outside all regions, y = x.
        3. On a map with fewer rows than regions, a region between two rows has no effect.
        4. A scale stays between half and twice its start. A region of twice the size is still sampled at as many cells.
        5. If training sees one value per channel (batch 1, one region, a 1x1 map), batch norms use their running
           statistics.
        6. ONNX has ``GridSample`` since opset 16. On CUDA its backward pass is not deterministic.
    """

    def __init__(
        self,
        channels: int,
        regions: int = 4,
        scale: str = "fixed",
        local_reduction: int = 4,
        apply: bool = False,
        residual: bool = False,
    ) -> None:
        super().__init__()
        check_positive("HardAttn", channels=channels, regions=regions, local_reduction=local_reduction)
        check_choice("HardAttn", "scale", scale, SCALES)
        check_needs_apply(HardAttn, apply, local_reduction=local_reduction, residual=residual)
        self.regions = regions
        self.residual = make_residual(channels, residual, "HardAttn")
        self.fc = nn.Linear(channels, 2 * regions)
        self.fc_scale = nn.Linear(channels, 2 * regions) if scale == "learnable" else None
        self.local = RegionBottleneck(channels, local_reduction) if apply else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Place the regions one below the other."""
        n = self.regions
        start = [value for i in range(n) for value in (0.0, (2 * i + 1) / n - 1)]
        nn.init.zeros_(self.fc.weight)
        with torch.no_grad():
            self.fc.bias.copy_(torch.tensor(start))
        if self.fc_scale is not None:
            nn.init.zeros_(self.fc_scale.weight)
            nn.init.zeros_(self.fc_scale.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return the sum of ``x`` and its processed regions, or the translations."""
        if self.local is None:
            return self.translations(x).to(x.dtype)
        return apply_residual(self.residual, x, x + self.pasted_regions(x))

    def pasted_regions(self, x: Tensor) -> Tensor:
        """Return the processed regions of ``x``, pasted and summed, ``(B, C, H, W)``, dtype of ``x``."""
        assert self.local is not None, "forward calls this only with apply"
        return self.local(x, *self.placement(x)).to(x.dtype)

    def placement(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return translations and scales, each ``(B, n, 2)`` as (x, y), in float32 or float64."""
        pooled = mean_in_float32(x, (2, 3)).flatten(1)  # B C
        t = in_float32(self.fc, pooled).tanh().reshape(-1, self.regions, 2)
        s = torch.stack([torch.ones_like(t[..., 0]), torch.full_like(t[..., 1], 1 / self.regions)], 2)
        if self.fc_scale is not None:
            s = s * (math.log(2) * in_float32(self.fc_scale, pooled).tanh()).exp().reshape(-1, self.regions, 2)
        return t, s

    def translations(self, x: Tensor) -> Tensor:
        """Return (t_x, t_y) of each region of ``x``, ``(B, n, 2)``, in float32 or float64."""
        return self.placement(x)[0]

    def theta(self, x: Tensor) -> Tensor:
        """Return the affine matrices ``[[s_x, 0, t_x], [0, s_y, t_y]]`` of the regions of ``x``, ``(B, n, 2, 3)``."""
        t, s = self.placement(x)
        return torch.cat([torch.diag_embed(s), t.unsqueeze(3)], 3)

    def boxes(self, x: Tensor) -> Tensor:
        """Return the regions of ``x`` as (x1, y1, x2, y2), ``(B, n, 4)``, as fractions of the map and clipped to it."""
        t, s = self.placement(x)
        return ((torch.cat([t - s, t + s], 2) + 1) / 2).clamp(0, 1)


@register(
    "HarmAttn",
    summary="Combine SoftAttn and HardAttn.",
    paper=PAPER,
    fixed=LAYER,
    checked=("authors", "loop"),
    export_limits=REGION_LIMITS,
)
class HarmAttn(nn.Module):
    """Gate the map by soft attention and add the regions of hard attention.

    Li, Zhu and Gong, "Harmonious Attention Network for Person Re-Identification", CVPR 2018,
    https://arxiv.org/abs/1802.08122, Sec. 3.1: ``y = x * A + sum_i paste_i(L(cut_i(x)))``. The first summand and the
    positions of the regions are theirs, with A from SoftAttn (``soft_attn``); the second summand is ours, as in
    HardAttn (``hard_attn``). To draw the regions, use the code there with ``HarmAttn`` instead of ``HardAttn``.

    Shape:
        x: ``(B, C, H, W)``, C = ``channels``; any H, W >= 1.
        returns: ``(B, C, H, W)``, same dtype and device; without ``apply`` two tensors, the gate map A,
            ``(B, C, H, W)``, and the translations, ``(B, n, 2)``.

    Args:
        channels: C.
        reduction: r, as in ChannelAttn.
        regions: n of HardAttn (theirs: 4).
        scale: As in HardAttn: ``"fixed"``, theirs, or ``"learnable"``.
        local_reduction: As in HardAttn. Needs ``apply``.
        apply: Return y. False, the authors' form, returns gate map and translations, without the processing of regions.
            Always true in a model YAML.
        relu_before_sigmoid: As in SoftAttn: like the authors' code, no gate is below 0.5.
        residual: Start as the identity: ``x + gamma * (y - x)``, gamma per channel, 0 at the start. Needs ``apply``.

    Raises:
        ValueError: If a number is not a positive integer, ``scale`` is unknown, another argument is not a bool, or an
            option is given without ``apply``.

    Deviations from the paper:
        1. The regions are those of this layer's input and are pasted into its output. Theirs are cut from the output of
           the block before and feed a second stream.

    Deviations from the authors' code (KaiyangZhou/deep-person-reid@f8cd150f): those of SoftAttn and of HardAttn.

    Limits: those of SoftAttn and of HardAttn.
    """

    def __init__(
        self,
        channels: int,
        reduction: int = 16,
        regions: int = 4,
        scale: str = "fixed",
        local_reduction: int = 4,
        apply: bool = False,
        relu_before_sigmoid: bool = False,
        residual: bool = False,
    ) -> None:
        super().__init__()
        check_positive("HarmAttn", channels=channels, reduction=reduction)
        check_positive("HarmAttn", regions=regions, local_reduction=local_reduction)
        check_choice("HarmAttn", "scale", scale, SCALES)
        check_bool("HarmAttn", relu_before_sigmoid=relu_before_sigmoid)
        check_needs_apply(HarmAttn, apply, local_reduction=local_reduction, residual=residual)
        self.applies = apply
        self.residual = make_residual(channels, residual, "HarmAttn")
        self.soft_attn = SoftAttn(channels, reduction, relu_before_sigmoid=relu_before_sigmoid)
        self.hard_attn = HardAttn(channels, regions, scale, local_reduction, apply)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Return ``x`` gated plus its processed regions, or the gate map and the translations."""
        gate = self.soft_attn.gate(x)
        if not self.applies:
            return gate, self.translations(x).to(x.dtype)
        return apply_residual(self.residual, x, x * gate + self.hard_attn.pasted_regions(x))

    def translations(self, x: Tensor) -> Tensor:
        """Return (t_x, t_y) of each region of ``x``, ``(B, n, 2)``, in float32 or float64."""
        return self.hard_attn.translations(x)

    def theta(self, x: Tensor) -> Tensor:
        """Return the affine matrices of the regions of ``x``, ``(B, n, 2, 3)``; see :class:`HardAttn`."""
        return self.hard_attn.theta(x)

    def boxes(self, x: Tensor) -> Tensor:
        """Return the regions of ``x`` as (x1, y1, x2, y2), ``(B, n, 4)``, as fractions of the map and clipped to it."""
        return self.hard_attn.boxes(x)
