"""MultiHeadGlobalAttention: kernels, extents and positions to choose from. Checked against outputs and loops."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..registry import register
from .functional import (
    check_bool,
    check_choice,
    check_divides,
    check_number,
    check_positive,
    check_positives,
    check_used,
    is_int,
)
from .nn.attention_kernels import (
    LIMITS,
    PARTS_FORM,
    LinearAttention,
    LinformerAttention,
    PerformerAttention,
    SoftmaxAttention,
)
from .nn.positions import AbsolutePositionEmbedding, RelativePositionBias, RotaryPositionEmbedding
from .nn.reformer import ReformerAttention
from .nn.residual import apply_residual, make_residual
from .nn.windows import WindowAxis, divided_axis, join_windows, split_windows, valid_keys, window_axis

NAME = "MultiHeadGlobalAttention"
EXTENTS = ("global", "window", "shifted", "overlap", "multiscale")
POSITIONS = ("relative", "absolute", "rope", "rope_mixed", "none")
KERNELS = ("softmax", "performer", "linformer", "reformer", "linear")
THETA = {"rope": 100.0, "rope_mixed": 10.0}
POSITION_SIZE = 20

# Combinations without a meaning, and why.
NOT_WITH_EXTENT = {
    "linformer": "mixes the keys of the whole map",
    "reformer": "sorts the whole map into chunks of its own",
}
NO_SCORES = "has no score per query and key to which a bias could be added"
NOT_WITH_POSITION = {
    ("performer", "relative"): NO_SCORES,
    ("linear", "relative"): NO_SCORES,
    ("linformer", "relative"): "has keys that are mixtures of positions, without an offset",
    ("reformer", "relative"): "selects keys by hashes, which ignore a bias",
    ("linear", "rope"): "applies a feature map after the rotation, so scores depend on more than the offset",
    ("linformer", "rope"): "has keys that are mixtures of positions, rotated by many angles",
}
NEEDS = {
    "window": ("extent", ("window", "shifted", "overlap")),
    "windows": ("extent", ("multiscale",)),
    "shift": ("extent", ("shifted",)),
    "overlap": ("extent", ("overlap",)),
    "divisions": ("window", ("dynamic",)),
    "position_size": ("position", ("relative", "absolute")),
    "theta": ("position", tuple(THETA)),
    "features": ("kernel", ("performer",)),
    "feature_map": ("kernel", ("linear",)),
    **dict.fromkeys(("linformer_size", "linformer_grid"), ("kernel", ("linformer",))),
    **dict.fromkeys(("hashes", "bucket_size"), ("kernel", ("reformer",))),
}


@register(
    NAME,
    summary="Attend to the whole map or windows.",
    paper="https://arxiv.org/abs/1706.03762",
    checked=("authors", "loop"),
    export_limits=LIMITS,
    export_forms=(PARTS_FORM,),
)
class MultiHeadGlobalAttention(nn.Module):
    """Replace each position by a weighted mean of the positions in the map or in a window, with several heads.

    Vaswani et al., "Attention Is All You Need", NeurIPS 2017, https://arxiv.org/abs/1706.03762, Sec. 3.2:
    ``q, k, v = Wqkv x``, per head of d = C / heads channels ``y = softmax(q k^T / sqrt(d) + bias) v``, ``Wo [y of each
    head]``. ``Wqkv`` is ``qkv`` and ``Wo`` is ``out``, both 1x1 convolutions.

    ``kernel`` sets how keys are weighted, ``extent`` which keys a query sees, ``position`` how positions enter:

    ========= ============================================== ==================================
    kernel    extent                                         position
    ========= ============================================== ==================================
    softmax   global, window, shifted, overlap, multiscale   relative, absolute, rope, rope_mixed, none
    performer global, window, shifted, overlap, multiscale   absolute, rope, rope_mixed, none
    linear    global, window, shifted, overlap, multiscale   absolute, none
    reformer  global                                         absolute, rope, rope_mixed, none
    linformer global                                         absolute, none
    ========= ============================================== ==================================

    Shape:
        x: ``(B, C, H, W)``, C = ``channels``; any H, W >= 1.
        returns: ``(B, C, H, W)``, same dtype and device.

    Args:
        channels: C.
        heads: Number of heads. Must divide ``channels``; rope needs heads of a multiple of 4 channels.
        kernel: ``softmax``; ``performer`` (FAVOR+, https://arxiv.org/abs/2009.14794); ``linformer`` (keys and values
            mixed to a fixed number, https://arxiv.org/abs/2006.04768); ``reformer`` (vectors with the same hash, q is
            also k, https://arxiv.org/abs/2001.04451); ``linear`` (a feature map of q and k,
            https://arxiv.org/abs/2006.16236).
        extent: ``global``, the whole map; ``window``, the query's window; ``shifted``, windows that start ``shift``
            further (Swin, https://arxiv.org/abs/2103.14030; alternate with ``window`` to connect windows);
            ``overlap``, the window and ``overlap`` positions around it (HaloNet, https://arxiv.org/abs/2103.12731);
            ``multiscale``, windows of another size for each group of heads, which ``out`` mixes. Windows that reach
            beyond the map see only positions of the map.
        position: ``relative``, a learned bias per head and offset (Swin); ``absolute``, a learned map added to x
            (https://arxiv.org/abs/2010.11929), resized bilinearly; ``rope``, axial rotations of q and k, and
            ``rope_mixed``, with learned frequencies (https://arxiv.org/abs/2403.13298); ``none``.
        window: Side of a window, or ``dynamic``: the side of the map divided by ``divisions``, rounded up. For the
            extents window, shifted and overlap.
        windows: Sides of the windows of each group of heads, for ``multiscale``. If the numbers do not divide, the
            first groups get one more head.
        shift: Start of the first full window, for ``shifted``. None: half a window.
        overlap: How far the window of keys extends beyond that of queries, on each side, for ``overlap``; 0 is
            ``window``.
        divisions: Windows per axis, for ``window: dynamic``.
        position_size: Side of the map for which ``absolute`` and (global or with dynamic windows) ``relative`` have an
            entry for each position. Other sizes use the middle of the relative table, or an interpolated one.
        theta: Base of the frequencies of rope, at the start for ``rope_mixed``. None: 100, and 10 for ``rope_mixed``.
        features: m of FAVOR+, for ``performer``; more are closer to softmax.
        feature_map: For ``linear``: ``elu`` (elu + 1), or ``softmax`` (over channels for q, over positions for k,
            https://arxiv.org/abs/1812.01243).
        linformer_size: k of Linformer, the number of mixtures, for ``linformer``.
        linformer_grid: Side, or height and width, of the grid to which ``linformer`` averages keys and values first.
        hashes: Number of hash rounds, for ``reformer``.
        bucket_size: Length of a chunk, for ``reformer``.
        qkv_bias: Whether ``qkv`` has a bias.
        residual: Start as the identity: ``x + gamma * (attention(x) - x)``, gamma per channel, 0 at the start.

    Raises:
        ValueError: If a number is not a positive integer (``overlap``: negative; ``theta``: not positive), ``heads``
            does not divide ``channels`` or leaves rope no multiple of 4, a choice is unknown, kernel, extent and
            position do not fit each other, an option has no effect with the others, ``windows`` has more entries than
            there are heads, ``shift`` is not below ``window`` or given with a dynamic one, or ``qkv_bias`` or
            ``residual`` is not a bool.

    Deviations from the paper:
        1. No dropout, and 1x1 convolutions of a map instead of linear layers of a sequence.
        2. Performer: 1e-4 is added to the features before scaling, as in the authors' code and unlike eq. 5.
        3. Linformer: maps are averaged to a grid of fixed size first, so one projection serves maps of any size.
        4. Reformer: at most 128 buckets per round; a q rotated by rope is hashed as it is.
        5. Linear: 1e-6 is added to the divisor, as in the authors' code.
        6. Shifted windows at the border are padded. Swin (Sec. 3.2) joins them with those of the opposite border and
           masks them apart: the same outputs.

    Deviations from the authors' code (microsoft/Swin-Transformer@f82860bf, lucidrains/linformer@970e1c3f,
    lucidrains/performer-pytorch@fc8b7844, naver-ai/rope-vit@ce85c2e5):
        1. Padding of a window is never attended; Swin's detection models attend to it.
        2. Swin shifts no window if one spans the map's smaller axis; here only that axis stays unshifted.
        3. The relative table is a vector, (heads, offsets, offsets) flattened; its biases are slices, without an index.

    Limits:
        1. Memory grows with H * W. The time of softmax, global or with dynamic windows, grows with its square.
        2. Relative biases are computed tile by tile, and in training once more in the backward pass. A compiled graph
           keeps them all; an exported one is made of tiles, too, and takes maps of any size.
        3. The error of Performer falls with ``features`` but grows with the size of q and k: where their channels are
           about 10, all keys get the same weight.
        4. Softmax in half precision is that of torch's fused kernels; all other kernels compute in float32.
        5. On a 1x1 map the output is ``out`` of v (Linformer: of a multiple of v), whatever q, k and the bias are.
        6. Hashes jump: near the border of two buckets, rounding changes which keys Reformer sees.
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
        position_size: int = POSITION_SIZE,
        theta: float | None = None,
        features: int = 64,
        feature_map: str = "elu",
        linformer_size: int = 64,
        linformer_grid: int | Sequence[int] = 16,
        hashes: int = 2,
        bucket_size: int = 64,
        qkv_bias: bool = False,
        residual: bool = False,
    ) -> None:
        super().__init__()
        numbers = {"divisions": divisions, "position_size": position_size, "features": features}
        numbers |= {"linformer_size": linformer_size, "hashes": hashes, "bucket_size": bucket_size}
        check_positive(NAME, channels=channels, heads=heads, **numbers)
        check_divides(NAME, "heads", heads, "channels", channels)
        choices = {"kernel": kernel, "extent": extent, "position": position}
        for name, known in (("kernel", KERNELS), ("extent", EXTENTS), ("position", POSITIONS)):
            check_choice(NAME, name, choices[name], known)
        check_choice(NAME, "feature_map", feature_map, ("elu", "softmax"))
        check_bool(NAME, qkv_bias=qkv_bias)
        check_combination(kernel, extent, position)
        sizes = {"window": window, "windows": windows, "shift": shift, "overlap": overlap}
        check_windows(**sizes)
        grid = checked_grid(linformer_grid)
        others = {"theta": theta, "feature_map": feature_map, "linformer_grid": linformer_grid}
        check_used(type(self), NEEDS, **choices, **sizes, **numbers, **others)
        fixed_windows = extent != "global" and window != "dynamic"
        if position == "relative" and fixed_windows and position_size != POSITION_SIZE:
            raise ValueError(
                f"{NAME}: position_size={position_size} has no effect with position='relative' and a fixed window; it "
                "works with extent='global', window='dynamic' or position='absolute'"
            )
        if extent == "shifted" and window == 1:
            raise ValueError(f"{NAME}: extent='shifted' has no effect with window=1; it works with window=2 or more")
        if position in THETA:
            check_rotation(heads, channels, position)
            theta = THETA[position] if theta is None else theta
            check_number(NAME, "theta", theta, THETA[position])
        d = channels // heads
        self.heads, self.extent, self.shift, self.divisions = heads, extent, shift, divisions
        self.windows = list(windows) if extent == "multiscale" else [window]
        if len(self.windows) > heads:
            raise ValueError(f"{NAME}: windows={windows!r} must have at most as many entries as heads={heads}")
        self.overlap = overlap if extent == "overlap" else 0
        self.shares_qk = kernel == "reformer"
        self.absolute = AbsolutePositionEmbedding(channels, position_size) if position == "absolute" else None
        self.qkv = nn.Conv2d(channels, (2 if self.shares_qk else 3) * channels, 1, bias=qkv_bias)
        self.rotation = None if theta is None else RotaryPositionEmbedding(heads, d, theta, position == "rope_mixed")
        sides = [int(w) if fixed_windows else position_size for w in self.windows]
        self.biases = nn.ModuleList(
            RelativePositionBias(n, 2 * (side + self.overlap) - 1)
            for n, side in zip(self.heads_per_window(), sides, strict=True)
            if position == "relative"
        )
        makers: dict[str, Callable[[], nn.Module]] = {
            "softmax": SoftmaxAttention,
            "performer": lambda: PerformerAttention(d, features),
            "linformer": lambda: LinformerAttention(grid, linformer_size),
            "reformer": lambda: ReformerAttention(d, hashes, bucket_size),
            "linear": lambda: LinearAttention(feature_map),
        }
        self.kernel = makers[kernel]()
        self.out = nn.Conv2d(channels, channels, 1)
        self.residual = make_residual(channels, residual, NAME)

    def heads_per_window(self) -> list[int]:
        """Return the number of heads of each window size."""
        each, more = divmod(self.heads, len(self.windows))
        return [each + (n < more) for n in range(len(self.windows))]

    def axis(self, size: int, window: int | str) -> WindowAxis:
        """Return how an axis of the map is split into windows of that size."""
        if self.extent == "global":
            return WindowAxis(size, size)
        shifted = self.extent == "shifted"
        if isinstance(window, str):
            return divided_axis(size, self.divisions, shifted, self.overlap)
        shift = window // 2 if self.shift is None else self.shift
        return window_axis(size, window, shift if shifted else 0, self.overlap)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, n: int) -> Tensor:
        """Return the attention of the heads with window size number n, ``(B, heads, H, W, d)``."""
        rows, columns = (self.axis(size, self.windows[n]) for size in q.shape[2:4])
        table = None
        if len(self.biases):
            table = self.biases[n](rows.window + rows.keys - 1, columns.window + columns.keys - 1)
        valid = valid_keys(rows, columns, q.device)
        valid = None if valid is None else valid.repeat(q.shape[0], 1, 1)  # BM h w
        q = split_windows(q, rows, columns, keys=False)  # BM heads h w d
        k, v = split_windows(k, rows, columns, keys=True), split_windows(v, rows, columns, keys=True)
        return join_windows(self.kernel(q, k, v, valid, table), rows, columns)

    def forward(self, x: Tensor) -> Tensor:
        H, W = x.shape[2:]
        C, n = self.qkv.in_channels, 2 if self.shares_qk else 3
        t = self.qkv(x if self.absolute is None else self.absolute(x))  # B 3C H W
        parts = t.reshape(-1, n, self.heads, C // self.heads, H, W).permute(1, 0, 2, 4, 5, 3).unbind(0)
        q, k, v = parts[0], parts[-2], parts[-1]  # B heads H W d; k is q if they are shared
        with torch.autocast(x.device.type, enabled=False):
            if self.rotation is not None:
                q, k = self.rotation(q, k)
            groups = heads_of_groups(self.heads_per_window())
            ys = [self.attend(q[:, heads], k[:, heads], v[:, heads], n) for n, heads in enumerate(groups)]
            y = ys[0] if len(ys) == 1 else torch.cat(ys, 1)
        y = self.out(y.permute(0, 1, 4, 2, 3).reshape(-1, C, H, W))
        return apply_residual(self.residual, x, y)


def heads_of_groups(counts: Sequence[int]) -> list[slice]:
    """Return the heads of each group, for groups of so many heads."""
    ends = list(itertools.accumulate(counts))
    return [slice(end - count, end) for end, count in zip(ends, counts, strict=True)]


def check_combination(kernel: str, extent: str, position: str) -> None:
    """Raise ValueError unless kernel, extent and position fit each other."""
    if extent != "global" and kernel in NOT_WITH_EXTENT:
        raise ValueError(
            f"{NAME}: extent={extent!r} must fit kernel={kernel!r}, which {NOT_WITH_EXTENT[kernel]}; "
            "kernels for windows: 'softmax', 'performer', 'linear'; extent='global' works"
        )
    reason = NOT_WITH_POSITION.get((kernel, position.removesuffix("_mixed")))
    if reason:
        fit = [p for p in POSITIONS if (kernel, p.removesuffix("_mixed")) not in NOT_WITH_POSITION]
        raise ValueError(
            f"{NAME}: position={position!r} must fit kernel={kernel!r}, which {reason}; positions that do: {fit}"
        )


def check_windows(window: object, windows: object, shift: object, overlap: object) -> None:
    """Raise ValueError unless the sizes of the windows are possible."""
    if window != "dynamic" and not is_int(window):
        raise ValueError(f"{NAME}: window={window!r} must be a positive integer or 'dynamic'; the default is 8")
    check_positives(NAME, "windows", windows, "[4, 8, 16] works")
    if not is_int(overlap, least=0):
        raise ValueError(f"{NAME}: overlap={overlap!r} must be an integer of at least 0; the default is 2")
    if shift is not None and window == "dynamic":
        raise ValueError(f"{NAME}: shift={shift!r} must be omitted with window='dynamic'; it is half a window then")
    if shift is not None and (not is_int(shift) or shift >= window):  # type: ignore[operator]
        raise ValueError(
            f"{NAME}: shift={shift!r} must be a positive integer below window={window}; None is half of it"
        )


def check_rotation(heads: int, channels: int, position: str) -> None:
    """Raise ValueError unless each head has whole pairs for both axes."""
    if channels // heads % 4:
        fits = [n for n in range(1, channels + 1) if channels % (4 * n) == 0]
        works = f"heads that do: {fits}" if fits else "none do, but position='relative' and 'absolute' take any"
        raise ValueError(
            f"{NAME}: heads={heads} must leave position={position!r} a multiple of 4 of channels={channels}; {works}"
        )


def checked_grid(grid: object) -> tuple[int, int]:
    """Return height and width of Linformer's grid, given as one number or two; raise ValueError for anything else."""
    sides: Sequence[Any] = grid if isinstance(grid, Sequence) else [grid, grid]
    if len(sides) != 2 or not all(map(is_int, sides)):
        raise ValueError(f"{NAME}: linformer_grid={grid!r} must be a positive integer or two; 16 and [12, 20] work")
    return int(sides[0]), int(sides[1])
