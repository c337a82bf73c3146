"""Split maps into windows and join them again. Windows may reach beyond the map: a mask marks the valid keys."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from ..functional import is_fixed, smaller_of


@dataclass(frozen=True)
class WindowAxis:
    """Describe how one axis of a map is split.

    Attributes:
        size: Positions of the map.
        window: Positions of a window of queries.
        before: Padding before the first position.
        count: Number of windows.
        overlap: How far a window of keys extends beyond its window of queries, on each side.
    """

    size: int
    window: int
    before: int = 0
    count: int = 1
    overlap: int = 0

    @property
    def after(self) -> int:
        """Return the padding after the last position."""
        return self.count * self.window - self.size - self.before

    @property
    def keys(self) -> int:
        """Return the positions of a window of keys."""
        return self.window + 2 * self.overlap

    @property
    def fixed(self) -> bool:
        """Return whether the numbers are plain ints; in a graph for any size they are not."""
        return is_fixed(self.size, self.window, self.before, self.count)

    @property
    def fits(self) -> bool:
        """Return whether no window of keys can reach beyond the map."""
        if is_fixed(self.count) and self.count == 1 and self.window is self.size:
            return True
        return self.fixed and not (self.before or self.after or self.overlap)


def window_axis(size: int, window: int, shift: int, overlap: int) -> WindowAxis:
    """Return an axis of windows, the first full one starting at ``shift``; one window if the map is no larger."""
    if is_fixed(size, window) and window >= size:
        return WindowAxis(size, size)
    before = 0
    if not is_fixed(shift) or shift:
        before = (window - shift) * smaller_of((size - 1) // window, 1)  # none if the map is no larger
    return WindowAxis(size, window, before, (size + before + window - 1) // window, overlap)


def divided_axis(size: int, divisions: int, shifted: bool, overlap: int) -> WindowAxis:
    """Return an axis of ``divisions`` windows, which start half a window further if ``shifted``."""
    window = (size + divisions - 1) // divisions
    axis = window_axis(size, window, window // 2 if shifted else 0, overlap)
    if is_fixed(axis.count):
        return axis
    return replace(axis, count=divisions + shifted)  # the last ones may lie beyond the map


def window_positions(axis: WindowAxis, keys: bool, device: torch.device) -> Tensor:
    """Return the position in the map of each query or key of each window, ``(windows, positions)``."""
    overlap = axis.overlap if keys else 0
    first = torch.arange(axis.count, device=device).unsqueeze(1) * axis.window - axis.before - overlap
    return first + torch.arange(axis.window + 2 * overlap, device=device)


def split_windows(x: Tensor, rows: WindowAxis, columns: WindowAxis, keys: bool) -> Tensor:
    """Split ``(B, heads, H, W, d)`` into windows of queries or keys, ``(B * windows, heads, h, w, d)``.

    Positions beyond the map have any values.
    """
    heads, d = x.shape[1], x.shape[4]
    if is_fixed(rows.count, columns.count) and rows.count == columns.count == 1:
        return x
    if rows.fixed and columns.fixed and not (keys and (rows.overlap or columns.overlap)):
        padding = [0, 0, columns.before, columns.after, rows.before, rows.after]
        x = F.pad(x, padding) if any(padding) else x
    else:
        for dim, axis in ((2, rows), (3, columns)):
            x = x.index_select(dim, (window_positions(axis, keys, x.device) % axis.size).flatten())
    height, width = (rows.keys, columns.keys) if keys else (rows.window, columns.window)
    x = x.reshape(-1, heads, rows.count, height, columns.count, width, d)
    return x.permute(0, 2, 4, 1, 3, 5, 6).contiguous().reshape(-1, heads, height, width, d)


def valid_keys(rows: WindowAxis, columns: WindowAxis, device: torch.device) -> Tensor | None:
    """Return which keys of each window are positions of the map, ``(windows, h, w)``; None if all are."""
    if rows.fits and columns.fits:
        return None
    y, x = (window_positions(axis, True, device) for axis in (rows, columns))  # windows h, windows w
    y, x = (y >= 0) & (y < rows.size), (x >= 0) & (x < columns.size)
    return (y[:, None, :, None] & x[None, :, None, :]).flatten(0, 1)


def join_windows(x: Tensor, rows: WindowAxis, columns: WindowAxis) -> Tensor:
    """Join windows of queries, ``(B * windows, heads, h, w, d)``, to ``(B, heads, H, W, d)``."""
    if is_fixed(rows.count, columns.count) and rows.count == columns.count == 1:
        return x
    heads, d = x.shape[1], x.shape[4]
    x = x.reshape(-1, rows.count, columns.count, heads, rows.window, columns.window, d)
    x = x.permute(0, 3, 1, 4, 2, 5, 6).contiguous()
    x = x.reshape(-1, heads, rows.count * rows.window, columns.count * columns.window, d)
    if not (rows.fixed and columns.fixed):  # slices would tie an exported graph to some sizes
        for dim, axis in ((2, rows), (3, columns)):
            x = x.index_select(dim, torch.arange(axis.size, device=x.device) + axis.before)
        return x
    return x[:, :, rows.before : rows.before + rows.size, columns.before : columns.before + columns.size]
