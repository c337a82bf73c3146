"""MultiHeadGlobalAttention: which keys, weighed how, and where they are. Checked against figures and loops."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from ..registry import register
from .functional import check_bool, check_choice, check_divides, check_positive, is_positive
from .nn.kernels import LinearAttention, LinformerAttention, PerformerAttention, SoftmaxAttention
from .nn.positions import AbsolutePositionEmbedding, RelativePositionBias, RotaryPositionEmbedding
from .nn.reformer import ReformerAttention
from .nn.residual import apply_residual, make_residual
from .nn.windows import WindowAxis, join_windows, one_window, split_windows, valid_keys, window_axis

NAME = "MultiHeadGlobalAttention"
EXTENTS = ("global", "window", "shifted", "overlap", "multiscale")
POSITIONS = ("relative", "absolute", "rope", "rope_mixed", "none")
KERNELS = ("softmax", "performer", "linformer", "reformer", "linear")
THETA = {"rope": 100.0, "rope_mixed": 10.0}

# What does not go together, and why.
NOT_WITH_EXTENT = {
    "linformer": "mixes the keys of the whole map; windows are small enough to do without",
    "reformer": "sorts the whole map into chunks, windows of its own",
}
NO_SCORES = "has no score of a query and a key to which a bias could be added"
NOT_WITH_POSITION = {
    ("performer", "relative"): NO_SCORES,
    ("linear", "relative"): NO_SCORES,
    ("linformer", "relative"): "has keys that are mixtures of places, without an offset",
    ("reformer", "relative"): "picks keys by hashes, which see no bias",
    ("linear", "rope"): "has a feature map behind the rotation, so that scores depend on more than the offset",
    ("linformer", "rope"): "has keys that are mixtures of places, rotated by many angles",
}


@register(
    NAME,
    summary="Attend to the whole map or windows.",
    paper="https://arxiv.org/abs/1706.03762",
    checked=("authors", "loop"),
)
class MultiHeadGlobalAttention(nn.Module):
    """Replace each position by a mean of others, of the whole map or a window, weighted by how well they match it.

    Vaswani et al., "Attention Is All You Need", NeurIPS 2017, https://arxiv.org/abs/1706.03762, Sec. 3.2:
    ``q, k, v = Wqkv x``, per head of d = C / heads channels ``y = softmax(q k^T / sqrt(d) + bias) v``, ``Wo [y of each
    head]``. ``Wqkv`` is ``qkv`` and ``Wo`` is ``out``, both 1x1 convolutions.

    ``kernel`` says how keys are weighed, ``extent`` which keys a query sees, ``position`` how places enter:

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
        heads: Number of heads. Must divide ``channels``; with rope, into heads of a multiple of 4 channels.
        kernel: ``softmax``; ``performer`` (FAVOR+, https://arxiv.org/abs/2009.14794); ``linformer`` (keys and values
            mixed to a fixed number, https://arxiv.org/abs/2006.04768); ``reformer`` (vectors that hash alike, q is
            also k, https://arxiv.org/abs/2001.04451); ``linear`` (a feature map of q and k,
            https://arxiv.org/abs/2006.16236).
        extent: ``global``, the whole map; ``window``, the query's window; ``shifted``, windows that start ``shift``
            further (Swin, https://arxiv.org/abs/2103.14030: between two layers with ``window``, it connects them);
            ``overlap``, the window and ``overlap`` positions around it (HaloNet, https://arxiv.org/abs/2103.12731);
            ``multiscale``, windows of another size for each group of heads, which ``out`` mixes. Windows that reach
            beyond the map see its positions only.
        position: ``relative``, a learnable bias per head and offset (Swin); ``absolute``, a learnable map added to x
            (https://arxiv.org/abs/2010.11929), resized bilinearly; ``rope``, axial rotations of q and k, and
            ``rope_mixed``, with learnable frequencies (https://arxiv.org/abs/2403.13298); ``none``.
        window: Side of a window, or ``dynamic``: that of the map divided by ``divisions``, rounded up.
        windows: Sides of the windows of each group of heads, for ``multiscale``; the first groups get a head more
            where the numbers do not divide.
        shift: Where the first full window starts, for ``shifted``; None: half a window.
        overlap: How far the keys' window goes beyond the queries', on each side, for ``overlap``; 0 is ``window``.
        divisions: Windows per axis, for ``window: dynamic``.
        position_size: Side of the map for which ``absolute`` and, global or with dynamic windows, ``relative`` have an
            entry for each place. Others take the middle of the relative table, or an interpolated one if it is short.
        theta: Base of rope's frequencies, at the start for ``rope_mixed``; None: 100, and 10 for ``rope_mixed``.
        features: m of FAVOR+: more are nearer to softmax.
        feature_map: Of ``linear``: ``elu`` (elu + 1), or ``softmax`` (over channels for q, over positions for k,
            https://arxiv.org/abs/1812.01243).
        linformer_size: k of Linformer, the number of keys that are left.
        linformer_grid: Side, or height and width, of the grid to which keys and values are averaged before; a map of
            that size stays as it is.
        hashes: Number of Reformer's hash rounds.
        bucket_size: Length of Reformer's chunks.
        qkv_bias: Whether ``qkv`` has a bias.
        residual: Start as the identity: ``x + gamma * (attention(x) - x)``, gamma per channel, 0 at first.

    Raises:
        ValueError: If a number is not a positive integer (``overlap``: negative; ``theta``: not positive), ``heads``
            does not divide ``channels`` or leaves rope no multiple of 4, a word is none of those above, kernel, extent
            and position do not go together, ``windows`` has more entries than there are heads, ``shift`` is no less
            than ``window`` or given with a dynamic one, ``window`` is dynamic where the extent has none, or
            ``qkv_bias`` or ``residual`` is not a bool.

    Deviations from the paper:
        1. No dropout, and 1x1 convolutions of a map for the linear layers of a sequence.
        2. Performer: features have 1e-4 added before they are scaled, as in the authors' code and unlike eq. 5.
        3. Linformer: maps are averaged to a grid of fixed size first, so that one projection serves maps of any size.
        4. Reformer: at most 128 buckets in a round; q turned by rope is hashed as it is.
        5. Linear: 1e-6 is added to the divisor, as in the authors' code.
        6. Shifted windows of the map's border are filled up, not joined with those of the opposite border and masked
           apart (Swin, Sec. 3.2): the same figures.

    Deviations from the authors' code (microsoft/Swin-Transformer@f82860bf, lucidrains/linformer@970e1c3f,
    lucidrains/performer-pytorch@fc8b7844, naver-ai/rope-vit@ce85c2e5):
        1. Positions that fill up a window are never attended; Swin's detection models attend to them.
        2. Swin shifts no window if one spans the map's smaller axis; here it stays unshifted along that axis only.
        3. The relative table is a vector, (heads, offsets, offsets) laid out flat; its biases are cut from it without
           an index.

    Limits:
        1. Memory grows with H * W. The time of softmax, global or with dynamic windows, grows with its square.
        2. Relative biases are computed block by block, and in training once more in the backward pass; a graph that is
           compiled keeps them all, and a traced or exported one is made for one size of map.
        3. Performer's error falls with ``features`` but grows with the size of q and k: where their channels are
           about 10, all keys weigh the same.
        4. Softmax in half precision is that of torch's fused kernels; all other kernels compute in float32.
        5. On a 1x1 map the output is ``out`` of v (Linformer: of a multiple of it), whatever q, k and the bias are.
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
        position_size: int = 20,
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
        numbers = {"channels": channels, "heads": heads, "divisions": divisions, "position_size": position_size}
        numbers |= {"features": features, "linformer_size": linformer_size, "hashes": hashes}
        for what, value in (*numbers.items(), ("bucket_size", bucket_size)):
            check_positive(NAME, what, value)
        check_divides(NAME, "heads", heads, "channels", channels)
        check_choice(NAME, "kernel", kernel, KERNELS)
        check_choice(NAME, "extent", extent, EXTENTS)
        check_choice(NAME, "position", position, POSITIONS)
        check_choice(NAME, "feature_map", feature_map, ("elu", "softmax"))
        check_together(kernel, extent, position)
        check_windows(extent, heads, window, windows, shift, overlap)
        if position in THETA:
            check_rotation(heads, channels, position, theta)
        grid = checked_grid(linformer_grid)
        check_bool(NAME, "qkv_bias", qkv_bias)
        d = channels // heads
        self.heads, self.extent, self.shift, self.divisions = heads, extent, shift, divisions
        self.windows = list(windows) if extent == "multiscale" else [window]
        self.overlap = overlap if extent == "overlap" else 0
        self.shares_qk = kernel == "reformer"
        self.absolute = AbsolutePositionEmbedding(channels, position_size) if position == "absolute" else None
        self.qkv = nn.Conv2d(channels, (2 if self.shares_qk else 3) * channels, 1, bias=qkv_bias)
        self.rotation = (
            RotaryPositionEmbedding(heads, d, THETA[position] if theta is None else theta, position == "rope_mixed")
            if position in THETA
            else None
        )
        sizes = [position_size if extent == "global" or w == "dynamic" else int(w) for w in self.windows]
        self.biases = nn.ModuleList(
            RelativePositionBias(n, 2 * (size + self.overlap) - 1)
            for n, size in zip(self.heads_per_window(), sizes, strict=True)
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
        """Return how many heads have each of the windows."""
        each, more = divmod(self.heads, len(self.windows))
        return [each + (n < more) for n in range(len(self.windows))]

    def axis(self, size: int, window: int | str) -> WindowAxis:
        """Return how an axis of the map is cut into windows of that size."""
        if self.extent == "global":
            return one_window(size)
        side = -(-size // self.divisions) if isinstance(window, str) else window
        shift = side // 2 if self.shift is None else self.shift
        return window_axis(size, side, shift if self.extent == "shifted" else 0, self.overlap)

    def attended(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, n: int) -> torch.Tensor:
        """Return the attention of the heads that have window number n, ``(B, heads, H, W, d)``."""
        rows, columns = (self.axis(int(size), self.windows[n]) for size in q.shape[2:4])
        table = None
        if len(self.biases):
            table = self.biases[n](rows.window + rows.keys - 1, columns.window + columns.keys - 1)
        valid = valid_keys(rows, columns, q)
        valid = None if valid is None else valid.repeat(q.shape[0], 1, 1)  # BM h w
        q = split_windows(q, rows, columns, keys=False)  # BM heads h w d
        k, v = split_windows(k, rows, columns, keys=True), split_windows(v, rows, columns, keys=True)
        return join_windows(self.kernel(q, k, v, valid, table), rows, columns)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the attention of ``x``."""
        C, H, W = x.shape[1:]
        t = self.qkv(x if self.absolute is None else self.absolute(x))  # B 3C H W
        parts = t.reshape(-1, t.shape[1] // C, self.heads, C // self.heads, H, W).permute(1, 0, 2, 4, 5, 3).unbind(0)
        q, k, v = parts[0], parts[-2], parts[-1]  # B heads H W d; k is q where they are shared
        with torch.autocast(x.device.type, enabled=False):
            if self.rotation is not None:
                q, k = self.rotation(q, k)
            of_windows = zip(*(t.split(self.heads_per_window(), 1) for t in (q, k, v)), strict=True)
            y = torch.cat([self.attended(a, b, c, n) for n, (a, b, c) in enumerate(of_windows)], 1)
        y = self.out(y.permute(0, 1, 4, 2, 3).reshape(-1, C, H, W))
        return apply_residual(self.residual, x, y)


def check_together(kernel: str, extent: str, position: str) -> None:
    """Raise ValueError unless there is a meaning in that combination."""
    if extent != "global" and kernel in NOT_WITH_EXTENT:
        why = NOT_WITH_EXTENT[kernel]
        raise ValueError(
            f"{NAME}: extent={extent!r} must suit kernel={kernel!r}, which {why}; "
            "extent='global' does, kernels for windows: 'softmax', 'performer', 'linear'"
        )
    reason = NOT_WITH_POSITION.get((kernel, position.removesuffix("_mixed")))
    if reason:
        fit = [p for p in POSITIONS if (kernel, p.removesuffix("_mixed")) not in NOT_WITH_POSITION]
        raise ValueError(
            f"{NAME}: position={position!r} must suit kernel={kernel!r}, which {reason}; positions that do: {fit}"
        )


def check_windows(extent: str, heads: int, window: object, windows: object, shift: object, overlap: object) -> None:
    """Raise ValueError unless the sizes of the windows are possible."""
    if window == "dynamic":
        if extent in ("global", "multiscale"):
            raise ValueError(
                f"{NAME}: window='dynamic' must have an extent with one window size, not {extent!r}; "
                "'window', 'shifted' and 'overlap' have"
            )
    elif not is_positive(window):
        raise ValueError(f"{NAME}: window={window!r} must be a positive integer or 'dynamic'; the default is 8")
    if (
        not isinstance(windows, Sequence)
        or isinstance(windows, str)
        or not windows
        or not all(map(is_positive, windows))
    ):
        raise ValueError(f"{NAME}: windows={windows!r} must be a list of positive integers; [4, 8, 16] works")
    if extent == "multiscale" and len(windows) > heads:
        raise ValueError(
            f"{NAME}: windows={windows!r} must be no more than there are heads; heads={heads} take up to {heads}"
        )
    if isinstance(overlap, bool) or not isinstance(overlap, int) or overlap < 0:
        raise ValueError(f"{NAME}: overlap={overlap!r} must be an integer of at least 0; the default is 2")
    if shift is None:
        return
    if window == "dynamic":
        raise ValueError(f"{NAME}: shift={shift!r} must be left out with window='dynamic'; half of the window is taken")
    if not is_positive(shift) or shift >= window:  # type: ignore[operator]
        raise ValueError(f"{NAME}: shift={shift!r} must be a positive integer below window={window}; None takes half")


def check_rotation(heads: int, channels: int, position: str, theta: object) -> None:
    """Raise ValueError unless the heads have whole pairs for both axes."""
    if channels // heads % 4:
        fits = [n for n in range(1, channels + 1) if channels % (4 * n) == 0]
        works = f"heads that do: {fits}" if fits else "none do, but position='relative' and 'absolute' take any"
        raise ValueError(
            f"{NAME}: heads={heads} must leave position={position!r} a multiple of 4 of channels={channels}; {works}"
        )
    number = isinstance(theta, (int, float)) and not isinstance(theta, bool)
    if theta is not None and not (number and theta > 0):  # type: ignore[operator]
        raise ValueError(f"{NAME}: theta={theta!r} must be a positive number; None takes {THETA[position]}")


def checked_grid(grid: object) -> tuple[int, int]:
    """Return height and width of Linformer's grid, given as one number or two; raise ValueError for anything else."""
    sides: Sequence[Any] = grid if isinstance(grid, Sequence) else [grid, grid]
    if len(sides) != 2 or not all(map(is_positive, sides)):
        raise ValueError(f"{NAME}: linformer_grid={grid!r} must be a positive integer or two; 16 and [12, 20] work")
    return int(sides[0]), int(sides[1])
