"""Harmonious attention: soft (positions and channels) and hard (regions). Checked against figures of the authors' code.

For re-identification the authors crop regions of a person and feed them to a second stream of the network, which has a
classifier of its own. Theirs here: the gate map and where the regions lie. Ours: the layer form (``apply=True``, what a
model YAML gets), which gates its input and writes what a local branch makes of each region back to where it was cut.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn

from ..registry import register
from .functional import check_bool, check_choice, check_positive, in_float32, mean_in_float32
from .nn.conv_norm import Float32ConvNorm
from .nn.regions import RegionBottleneck
from .nn.residual import apply_residual, start_scale

PAPER = "https://arxiv.org/abs/1802.08122"


@register(
    "SpatialAttn",
    summary="Gate positions by channel means.",
    paper=PAPER,
    fixed={"apply": True},
    checked=("authors", "loop"),
)
class SpatialAttn(nn.Module):
    """Scale each position, all channels alike, by a gate made from the mean over the channels.

    Li, Zhu and Gong, "Harmonious Attention Network for Person Re-Identification", CVPR 2018,
    https://arxiv.org/abs/1802.08122, Sec. 3.1: ``S = BN(F1 up(relu(BN(F3 mean_C(x)))))``, ``y = x * sigmoid(S)``.
    ``F3``, 3x3 with stride 2, is ``conv1``, ``up`` is bilinear, ``F1``, one number, is ``conv2``.

    Shape:
        x: ``(B, C, H, W)``; any C, H, W >= 1.
        returns: ``(B, C, H, W)``, same dtype and device; without ``apply`` the map ``relu(S)``, ``(B, 1, H, W)``.

    Args:
        channels: C. Only ``residual`` needs it; the authors' class has no argument.
        apply: Gate the input. False, the authors' form, returns the bare map; a model YAML always gets True.
        relu_before_sigmoid: Gate with ``sigmoid(relu(S))``, which is never below 0.5.
        residual: Start as the identity: ``x + gamma * (SpatialAttn(x) - x)``, gamma per channel, 0 at first.

    Raises:
        ValueError: If ``channels`` is not a positive integer, one of the others is not a bool, or ``residual`` comes
            without ``apply`` or without ``channels``.

    Deviations from the paper:
        1. On its own it gates its input (``apply``); in the paper it is one factor of SoftAttn.

    Deviations from the authors' code (KaiyangZhou/deep-person-reid@f8cd150f, torchreid/models/hacnn.py):
        1. The strided map is resized to exactly H x W; theirs to twice its own size, so that an odd H comes out as
           H + 1. Equal at even sizes (bilinear, ``align_corners=True``).
        2. It trains with one image on maps of up to 2x2, where theirs raises (see Limits).
        3. The gate is computed in float32 also under autocast and in a half precision model.

    Limits:
        1. Where training sees one value (batch 1 on a map of up to 2x2), ``conv1`` is normed by its running statistics.
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
            check_positive("SpatialAttn", "channels", channels)
        elif residual is True:
            raise ValueError("SpatialAttn: channels=None must be given with residual=True; channels=64 for 64 channels")
        check_bool("SpatialAttn", "relu_before_sigmoid", relu_before_sigmoid)
        self.applies = apply
        self.relu_before_sigmoid = relu_before_sigmoid
        self.conv1 = Float32ConvNorm(1, 1, 3, 2)
        self.conv2 = Float32ConvNorm(1, 1)
        self.residual = start_scale(channels or 1, residual, apply, "SpatialAttn")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``x`` scaled, or the bare map."""
        s = self.logits(x)  # B 1 H W
        if not self.applies:
            return s.relu().to(x.dtype)
        return apply_residual(self.residual, x, x * (s.relu() if self.relu_before_sigmoid else s).sigmoid().to(x.dtype))

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        """Return S, ``(B, 1, H, W)``, in float32 at least."""
        s = self.conv1(mean_in_float32(x, 1)).relu()  # B 1 H/2 W/2, rounded up
        s = F.interpolate(s, size=x.shape[2:], mode="bilinear", align_corners=True)  # B 1 H W
        y: torch.Tensor = self.conv2(s)
        return y


@register(
    "ChannelAttn",
    summary="Gate channels by their means.",
    paper=PAPER,
    fixed={"apply": True},
    checked=("authors", "loop"),
)
class ChannelAttn(nn.Module):
    """Scale each channel by a gate made from the means of all channels.

    Li, Zhu and Gong, "Harmonious Attention Network for Person Re-Identification", CVPR 2018,
    https://arxiv.org/abs/1802.08122, Sec. 3.1: ``K = BN(W2 relu(BN(W1 mean_HW(x))))``, ``y = x * sigmoid(K)``.
    ``W1`` is ``conv1``, ``W2`` is ``conv2``.

    Shape:
        x: ``(B, C, H, W)``, C = ``channels``; any H, W >= 1.
        returns: ``(B, C, H, W)``, same dtype and device; without ``apply`` the map ``relu(K)``, ``(B, C, 1, 1)``.

    Args:
        channels: C.
        reduction: r of the paper: C / r channels behind ``W1``, rounded down, at least 1 (their default 16).
        apply: Gate the input. False, the authors' form, returns the bare map; a model YAML always gets True.
        relu_before_sigmoid: Gate with ``sigmoid(relu(K))``, which is never below 0.5.
        residual: Start as the identity: ``x + gamma * (ChannelAttn(x) - x)``, gamma per channel, 0 at first.

    Raises:
        ValueError: If one of the numbers is not a positive integer, one of the others is not a bool, or ``residual``
            comes without ``apply``.

    Deviations from the paper:
        1. On its own it gates its input (``apply``); in the paper it is one factor of SoftAttn.

    Deviations from the authors' code (KaiyangZhou/deep-person-reid@f8cd150f, torchreid/models/hacnn.py):
        1. ``reduction`` need not divide ``channels``, nor be smaller; theirs raises.
        2. It trains with one image, where theirs raises (see Limits).
        3. The gate is computed in float32 also under autocast and in a half precision model.

    Limits:
        1. Training with batch 1 sees one value per channel: the batch norms use their running statistics, and leave
           them as they are.
        2. With batch 2 they see two, which a batch norm makes +1 and -1 of: the gates hardly depend on how far apart
           the samples are.
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
        check_positive("ChannelAttn", "channels", channels)
        check_positive("ChannelAttn", "reduction", reduction)
        check_bool("ChannelAttn", "relu_before_sigmoid", relu_before_sigmoid)
        self.applies = apply
        self.relu_before_sigmoid = relu_before_sigmoid
        width = max(1, channels // reduction)
        self.conv1 = Float32ConvNorm(channels, width)
        self.conv2 = Float32ConvNorm(width, channels)
        self.residual = start_scale(channels, residual, apply, "ChannelAttn")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``x`` scaled, or the bare map."""
        k = self.logits(x)  # B C 1 1
        if not self.applies:
            return k.relu().to(x.dtype)
        return apply_residual(self.residual, x, x * (k.relu() if self.relu_before_sigmoid else k).sigmoid().to(x.dtype))

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        """Return K, ``(B, C, 1, 1)``, in float32 at least."""
        k: torch.Tensor = self.conv2(self.conv1(mean_in_float32(x, (2, 3))).relu())
        return k


@register(
    "SoftAttn", summary="Gate every value of the map.", paper=PAPER, fixed={"apply": True}, checked=("authors", "loop")
)
class SoftAttn(nn.Module):
    """Scale every position of every channel by a gate made from a map of positions times a vector of channels.

    Li, Zhu and Gong, "Harmonious Attention Network for Person Re-Identification", CVPR 2018,
    https://arxiv.org/abs/1802.08122, Sec. 3.1: ``A = sigmoid(BN(F (relu(S) * relu(K))))``, ``y = x * A``. S is
    ``spatial_attn``, K is ``channel_attn``, ``F``, 1x1, is ``conv``.

    Shape:
        x: ``(B, C, H, W)``, C = ``channels``; any H, W >= 1.
        returns: ``(B, C, H, W)``, same dtype and device: y, or without ``apply`` the gate map A.

    Args:
        channels: C.
        reduction: That of ChannelAttn.
        apply: Gate the input. False, the authors' form, returns the bare map; a model YAML always gets True.
        relu_before_sigmoid: Rectify before the sigmoid, as the authors' code: no gate is then below 0.5.
        residual: Start as the identity: ``x + gamma * (SoftAttn(x) - x)``, gamma per channel, 0 at first.

    Raises:
        ValueError: If one of the numbers is not a positive integer, one of the others is not a bool, or ``residual``
            comes without ``apply``.

    Deviations from the paper: none beyond those from the authors' code.

    Deviations from the authors' code (KaiyangZhou/deep-person-reid@f8cd150f, torchreid/models/hacnn.py):
        1. No ReLU before the last sigmoid, so that a gate can close; theirs is never below 0.5.
           ``relu_before_sigmoid: true`` gives theirs.
        2. Odd sizes, batch 1 and any ``reduction``, as SpatialAttn and ChannelAttn have it; theirs puts out a map of
           H + 1 for an odd H, which does not fit the input.
        3. ``F`` runs on the vector, before the product: the same sum, C * C products a sample and not a position.
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
        check_positive("SoftAttn", "channels", channels)
        check_positive("SoftAttn", "reduction", reduction)
        check_bool("SoftAttn", "relu_before_sigmoid", relu_before_sigmoid)
        self.applies = apply
        self.relu_before_sigmoid = relu_before_sigmoid
        self.spatial_attn = SpatialAttn()
        self.channel_attn = ChannelAttn(channels, reduction)
        self.conv = Float32ConvNorm(channels, channels)
        self.residual = start_scale(channels, residual, apply, "SoftAttn")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``x`` scaled, or the gate map."""
        gate = self.gate(x)
        return apply_residual(self.residual, x, x * gate) if self.applies else gate

    def gate(self, x: torch.Tensor) -> torch.Tensor:
        """Return the gate map, ``(B, C, H, W)``, dtype of ``x``."""
        s = self.spatial_attn.logits(x).relu()  # B 1 H W
        k = self.channel_attn.logits(x).relu()  # B C 1 1
        conv: nn.Conv2d = self.conv.conv
        with torch.autocast(x.device.type, enabled=False):
            v = F.conv2d(k, conv.weight.to(k.dtype))  # B C 1 1
            assert conv.bias is not None, "the authors' convolution has one"
            bias = conv.bias.to(k.dtype).reshape(1, -1, 1, 1)
            a = in_float32(self.conv.bn, s * v + bias)  # B C H W
            return (a.relu() if self.relu_before_sigmoid else a).sigmoid().to(x.dtype)


@register(
    "HardAttn",
    summary="Process a few regions separately.",
    paper=PAPER,
    fixed={"apply": True},
    checked=("authors", "loop"),
)
class HardAttn(nn.Module):
    """Find n regions of the map, work on each by itself, and add the result where the region was cut from.

    Li, Zhu and Gong, "Harmonious Attention Network for Person Re-Identification", CVPR 2018,
    https://arxiv.org/abs/1802.08122, Sec. 3.1. Theirs: (u, v) of region i, from -1 to 1, lies at
    ``x' = s_x u + t_x``, ``y' = s_y v + t_y`` of the map, with ``t = tanh(fc(mean_HW(x)))`` and (s_x, s_y) = (1, 1/n).
    Ours: ``y = x + sum_i back_i(L(cut_i(x)))``. ``L`` is ``local``: 1x1, batch norm, ReLU, 3x3, batch norm, ReLU, 1x1,
    one for all regions; ``cut_i`` reads the region into ceil(H / n) x W cells, ``back_i`` is the inverse transform.

    To draw the regions of a built detector, read them off the layer's input::

        layer = next(m for m in model.modules() if isinstance(m, HardAttn))
        seen = []
        handle = layer.register_forward_pre_hook(lambda module, args: seen.append(module.boxes(args[0])))
        model(images)  # (B, 3, height, width)
        handle.remove()
        boxes = seen[0] * torch.tensor([width, height, width, height])  # B n 4, in pixels

    Shape:
        x: ``(B, C, H, W)``, C = ``channels``; any H, W >= 1, H below n too.
        returns: ``(B, C, H, W)``, same dtype and device; without ``apply`` the translations (t_x, t_y), ``(B, n, 2)``.

    Args:
        channels: C.
        regions: n (theirs: 4). At first ``fc`` gives region i of n the position (0, (2i + 1) / n - 1), before the tanh.
        scale: ``"fixed"``, theirs, or ``"learnable"``: s times 2 to the power of ``tanh(fc_scale(mean_HW(x)))``, which
            is 1 at first.
        local_reduction: C divided by the channels of the local branch's 3x3 convolution, rounded down, at least 1.
        apply: Add the local branch. False, the authors' form, returns the translations, and has no local branch; a
            model YAML always gets True.
        residual: Start as the identity: ``x + gamma * (HardAttn(x) - x)``, gamma per channel, 0 at first.

    Raises:
        ValueError: If one of the numbers is not a positive integer, ``scale`` is none of those words, one of the others
            is not a bool, or ``residual`` comes without ``apply``.

    Deviations from the paper:
        1. A detector needs a map: the local branch writes back. Theirs feeds a stream that classifies.
        2. Any number of regions, and ``scale: learnable``.

    Deviations from the authors' code (KaiyangZhou/deep-person-reid@f8cd150f, torchreid/models/hacnn.py):
        1. A region is read at its own resolution, once; theirs is sampled at the map's size and resized after that.
        2. ``align_corners=False`` and zeros outside the map are said, not left to the version of torch: -1 and 1 are
           the map's edges.
        3. Translations, scales and sampling are in float32 also under autocast and in a half precision model.

    Limits:
        1. The tanh moves the start inwards: at n = 4 to t_y = -0.64, -0.24, 0.24, 0.64, so that the regions overlap and
           leave 6 % of the map free at the top and at the bottom.
        2. A region fades out over half a cell to either side of its edge; beyond, and outside all regions, y = x.
        3. On a map with fewer rows than regions, a region between two rows has no effect.
        4. A scale stays between half and twice its start; a region of twice the size is still read into as many cells.
        5. Where training sees one value per channel (batch 1, one region, a 1x1 map), batch norms use their running
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
        check_positive("HardAttn", "channels", channels)
        check_positive("HardAttn", "regions", regions)
        check_choice("HardAttn", "scale", scale, ("fixed", "learnable"))
        check_positive("HardAttn", "local_reduction", local_reduction)
        self.regions = regions
        self.residual = start_scale(channels, residual, apply, "HardAttn")
        self.fc = nn.Linear(channels, 2 * regions)
        self.fc_scale = nn.Linear(channels, 2 * regions) if scale == "learnable" else None
        self.local = RegionBottleneck(channels, local_reduction) if apply else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Lay the regions one below the other."""
        n = self.regions
        start = [value for i in range(n) for value in (0.0, (2 * i + 1) / n - 1)]
        nn.init.zeros_(self.fc.weight)
        with torch.no_grad():
            self.fc.bias.copy_(torch.tensor(start))
        if self.fc_scale is not None:
            nn.init.zeros_(self.fc_scale.weight)
            nn.init.zeros_(self.fc_scale.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``x`` with what its regions add, or the translations."""
        if self.local is None:
            return self.translations(x).to(x.dtype)
        return apply_residual(self.residual, x, x + self.written_back(x))

    def written_back(self, x: torch.Tensor) -> torch.Tensor:
        """Return what the local branch adds, ``(B, C, H, W)``, dtype of ``x``."""
        assert self.local is not None, "a layer built without apply has no local branch"
        y: torch.Tensor = self.local(x, *self.placement(x))
        return y.to(x.dtype)

    def placement(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return translations and scales, each ``(B, n, 2)`` as (x, y), in float32 at least."""
        pooled = mean_in_float32(x, (2, 3)).flatten(1)  # B C
        t = in_float32(self.fc, pooled).tanh().reshape(-1, self.regions, 2)
        s = torch.stack([torch.ones_like(t[..., 0]), torch.full_like(t[..., 1], 1 / self.regions)], 2)
        if self.fc_scale is not None:
            s = s * (math.log(2) * in_float32(self.fc_scale, pooled).tanh()).exp().reshape(-1, self.regions, 2)
        return t, s

    def translations(self, x: torch.Tensor) -> torch.Tensor:
        """Return (t_x, t_y) of each region of ``x``, ``(B, n, 2)``, in float32 at least."""
        return self.placement(x)[0]

    def theta(self, x: torch.Tensor) -> torch.Tensor:
        """Return the affine matrices ``[[s_x, 0, t_x], [0, s_y, t_y]]`` of the regions of ``x``, ``(B, n, 2, 3)``."""
        t, s = self.placement(x)
        return torch.cat([torch.diag_embed(s), t.unsqueeze(3)], 3)

    def boxes(self, x: torch.Tensor) -> torch.Tensor:
        """Return the regions of ``x`` as (x1, y1, x2, y2), ``(B, n, 4)``, in shares of the map and clipped to it."""
        t, s = self.placement(x)
        return ((torch.cat([t - s, t + s], 2) + 1) / 2).clamp(0, 1)


@register(
    "HarmAttn",
    summary="Combine SoftAttn and HardAttn.",
    paper=PAPER,
    fixed={"apply": True},
    checked=("authors", "loop"),
)
class HarmAttn(nn.Module):
    """Scale the map by soft attention and add what hard attention makes of its regions.

    Li, Zhu and Gong, "Harmonious Attention Network for Person Re-Identification", CVPR 2018,
    https://arxiv.org/abs/1802.08122, Sec. 3.1: ``y = x * A + sum_i back_i(L(cut_i(x)))``. The first summand and where
    the regions lie are theirs, with A from SoftAttn (``soft_attn``); the second is ours, as in HardAttn
    (``hard_attn``). The regions are drawn as it says there, with ``HarmAttn`` in place of ``HardAttn``.

    Shape:
        x: ``(B, C, H, W)``, C = ``channels``; any H, W >= 1.
        returns: ``(B, C, H, W)``, same dtype and device; without ``apply`` two tensors, the gate map A,
            ``(B, C, H, W)``, and the translations, ``(B, n, 2)``.

    Args:
        channels: C.
        reduction: That of ChannelAttn.
        regions: n of HardAttn (theirs: 4).
        scale: That of HardAttn: ``"fixed"``, theirs, or ``"learnable"``.
        local_reduction: That of HardAttn.
        apply: Return y. False, the authors' form, returns gate map and translations, and has no local branch; a model
            YAML always gets True.
        relu_before_sigmoid: That of SoftAttn: as the authors' code, no gate below 0.5.
        residual: Start as the identity: ``x + gamma * (HarmAttn(x) - x)``, gamma per channel, 0 at first.

    Raises:
        ValueError: If one of the numbers is not a positive integer, ``scale`` is neither of the two words, one of the
            others is not a bool, or ``residual`` comes without ``apply``.

    Deviations from the paper:
        1. The crops are of this layer's input, and come back into its output; theirs are of what the block before puts
           out and go to a second stream.

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
        check_positive("HarmAttn", "channels", channels)
        check_positive("HarmAttn", "reduction", reduction)
        check_positive("HarmAttn", "regions", regions)
        check_choice("HarmAttn", "scale", scale, ("fixed", "learnable"))
        check_positive("HarmAttn", "local_reduction", local_reduction)
        check_bool("HarmAttn", "relu_before_sigmoid", relu_before_sigmoid)
        self.applies = apply
        self.residual = start_scale(channels, residual, apply, "HarmAttn")
        self.soft_attn = SoftAttn(channels, reduction, relu_before_sigmoid=relu_before_sigmoid)
        self.hard_attn = HardAttn(channels, regions, scale, local_reduction, apply)

    def forward(self, x: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """Return ``x`` scaled and with what its regions add, or the gate map and the translations."""
        gate = self.soft_attn.gate(x)
        if not self.applies:
            return gate, self.translations(x).to(x.dtype)
        return apply_residual(self.residual, x, x * gate + self.hard_attn.written_back(x))

    def translations(self, x: torch.Tensor) -> torch.Tensor:
        """Return (t_x, t_y) of each region of ``x``, ``(B, n, 2)``, in float32 at least."""
        return self.hard_attn.translations(x)

    def theta(self, x: torch.Tensor) -> torch.Tensor:
        """Return the affine matrices of the regions of ``x``, ``(B, n, 2, 3)``; see :class:`HardAttn`."""
        return self.hard_attn.theta(x)

    def boxes(self, x: torch.Tensor) -> torch.Tensor:
        """Return the regions of ``x`` as (x1, y1, x2, y2), ``(B, n, 4)``, in shares of the map and clipped to it."""
        return self.hard_attn.boxes(x)
