"""Lay out the boxes and lines of a model's drawing, in inches with y downwards, independent of how they are drawn.

Boxes: each stride is a band of rows, the largest maps on top. Each run of layers in one direction is a column, as in
the usual YOLO figures: the backbone down, the neck up, then down again. A layer with maps of several strides (Detect)
is one tall box across their bands.

Lines: a line to the next box in a column is straight. Any other line leaves its box at the right and follows tracks
between the columns and lanes between the rows. Lines of one source share their way; lines of different sources never
overlap.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from ...integration.queries.model_graph import Graph, Layer

ROW = 0.66  # from one row to the next
BOX = 0.40  # height of a box
LABEL = 0.12  # space around a line's label, right of its box
TRACK = 0.11  # from one vertical line to the next
ARROW = 0.2  # from the last vertical line to the next column
MARGIN = 1.2  # left of the first column, for the names of the bands
EDGE = 0.3  # right of the last column
_LANES = (0.0, -0.09, 0.09)  # horizontal lines between two rows
_NEAR = 0.06  # the least distance between lines of different sources


@dataclass(slots=True)
class Box:
    """The box of a layer: its column, and its first and last row."""

    layer: Layer
    column: int
    top: int
    bottom: int
    x: float = 0.0
    width: float = 0.0

    @property
    def y(self) -> float:
        """Centre of the box."""
        return (self.top + self.bottom + 1) / 2 * ROW

    @property
    def height(self) -> float:
        """Height of the box."""
        return (self.bottom - self.top) * ROW + BOX


@dataclass(frozen=True, slots=True)
class Line:
    """The corners of an edge. The last one is the tip of the arrow."""

    source: int
    target: int
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Label:
    """The position of a layer's output size, left-aligned: beside a vertical line, above a horizontal one."""

    source: int
    x: float
    y: float


@dataclass(frozen=True, slots=True)
class Band:
    """The rows of one stride."""

    stride: float
    top: float
    bottom: float


@dataclass(slots=True)
class Layout:
    """The boxes by layer number, the lines, labels and bands, and the total size."""

    boxes: dict[int, Box]
    bands: list[Band]
    lines: list[Line] = field(default_factory=list)
    labels: list[Label] = field(default_factory=list)
    width: float = 0.0
    height: float = 0.0


@dataclass(slots=True)
class _Way:
    """The way of an edge that leaves its box at the right, as far as it is known."""

    source: Box
    target: Box
    start: float  # y at the source
    end: float = 0.0  # y at the target
    lane: float = 0.0  # y of its horizontal part


# For the space right of a column: (source, y of its start) -> the track of each vertical line, from 0.
_Tracks = dict[tuple[int, float], int]


def strides(layer: Layer, graph: Graph) -> list[float]:
    """Return the strides of a layer's output maps, or of its inputs if it has no output map."""
    if layer.stride:
        return [layer.stride]
    if layer.maps:
        return [stride for _, stride in layer.maps]
    return [s for x in layer.reads if x >= 0 for s in strides(graph.layers[x], graph)] or [1]


def lay_out(graph: Graph, widths: Sequence[float], labels: Sequence[float]) -> Layout:
    """Return the drawing's geometry.

    Args:
        graph: The model.
        widths: The width of each layer's box.
        labels: The width of each layer's label.
    """
    levels = [sorted({math.log2(s) for s in strides(layer, graph)}) for layer in graph.layers]
    columns = _columns(graph, levels)
    layout = _boxes(graph, levels, columns)
    ways = [
        _Way(layout.boxes[x], layout.boxes[layer.index], layout.boxes[x].y)
        for layer in graph.layers
        for x in dict.fromkeys(layer.reads)
        if x >= 0
    ]
    around = [w for w in ways if not _straight(w, layout)]
    _choose_lanes(around, layout)
    _choose_ports(around)
    tracks = _choose_tracks(around, max(columns) + 1)
    first_track = _place(layout, widths, labels, around, tracks)
    for way in ways:
        points = _points(way, tracks, first_track) if way in around else _vertical(way)
        layout.lines.append(Line(way.source.layer.index, way.target.layer.index, points))
    _label(layout, around)
    return layout


def _columns(graph: Graph, levels: list[list[float]]) -> list[int]:
    """Return each layer's column. A new one starts where the direction turns, at a new part, and at a tall box."""
    columns, direction = [0], 0
    for before, layer in zip(graph.layers, graph.layers[1:], strict=False):
        old, new = levels[before.index], levels[layer.index]
        turn = (new[-1] > old[-1]) - (new[-1] < old[-1])
        fresh = layer is graph.head or layer.part != before.part or len(old) > 1 or len(new) > 1
        if fresh or turn * direction < 0:
            direction = 0
            columns.append(columns[-1] + 1)
        else:
            direction = direction or turn
            columns.append(columns[-1])
    return columns


def _boxes(graph: Graph, levels: list[list[float]], columns: list[int]) -> Layout:
    """Return a layout with the rows of every layer's box."""
    cells: dict[tuple[int, float], list[int]] = {}
    for i, level in enumerate(levels):
        if len(level) == 1:
            cells.setdefault((columns[i], level[0]), []).append(i)
    bands: list[Band] = []
    first: dict[float, int] = {}
    count: dict[float, int] = {}
    rows = 0
    for value in sorted({v for each in levels for v in each}):
        count[value] = max((len(c) for (_, v), c in cells.items() if v == value), default=1)
        first[value] = rows
        bands.append(Band(2**value, rows * ROW, (rows + count[value]) * ROW))
        rows += count[value]
    boxes: dict[int, Box] = {}
    for (column, value), inside in cells.items():
        upwards = _goes_up(column, columns, levels)
        start = first[value] + (count[value] - len(inside) + upwards) // 2
        for k, i in enumerate(reversed(inside) if upwards else inside):
            boxes[i] = Box(graph.layers[i], column, start + k, start + k)
    for i, level in enumerate(levels):
        if len(level) > 1:
            boxes[i] = Box(graph.layers[i], columns[i], first[level[0]], first[level[-1]] + count[level[-1]] - 1)
    return Layout(dict(sorted(boxes.items())), bands, height=rows * ROW)


def _goes_up(column: int, columns: list[int], levels: list[list[float]]) -> bool:
    inside = [levels[i][-1] for i, c in enumerate(columns) if c == column]
    return inside[0] > inside[-1]


def _straight(way: _Way, layout: Layout) -> bool:
    """Say whether a line goes to the next box of the same column."""
    a, b = way.source, way.target
    if a.column != b.column or a.top == b.top:
        return False
    low, high = sorted((a.top, b.top))
    return not any(c.column == a.column and low < c.top < high for c in layout.boxes.values())


def _vertical(way: _Way) -> tuple[tuple[float, float], ...]:
    a, b = way.source, way.target
    x, down = a.x + a.width / 2, 1 if b.y > a.y else -1
    return (x, a.y + down * a.height / 2), (x, b.y - down * b.height / 2)


def _choose_lanes(ways: list[_Way], layout: Layout) -> None:
    """Choose the y at which each line crosses the columns between its ends, away from boxes and other lines."""
    taken: dict[int, list[tuple[float, int]]] = {}  # column -> (y, source) of each line that crosses it
    rows = round(layout.height / ROW)
    gaps = [k * ROW + lane for k in range(rows + 1) for lane in _LANES]
    # The shortest first, so that they are straight.
    for way in sorted(ways, key=lambda w: (w.target.column - w.source.column, w.source.layer.index)):
        a, b = way.source, way.target
        if a.bottom > a.top:  # a line leaves a tall box at the y of its target
            way.start = _inside(b.y, a)
        goal = _inside(way.start, b) if b.bottom > b.top else b.y
        between = range(a.column + 1, b.column)
        blocked = [box for box in layout.boxes.values() if box.column in between]
        crossing = [line for c in between for line in taken.get(c, [])]
        source = a.layer.index
        choices = [way.start, goal, *((k + 0.5) * ROW for k in range(rows)), *gaps]
        if b.column <= a.column + 1:  # nothing to cross
            choices = [goal if b.bottom > b.top else way.start]
        free = [
            y
            for y in choices
            if all(abs(y - box.y) >= box.height / 2 + 0.04 for box in blocked)
            and all(abs(y - height) > _NEAR or s == source for height, s in crossing)
        ]
        shared = {height for height, s in crossing if s == source}
        way.lane = min(free or [way.start], key=lambda y: _length(y, way.start, goal, y in shared))
        for c in between:
            taken.setdefault(c, []).append((way.lane, source))
        way.end = _inside(way.lane, b) if b.bottom > b.top else b.y


def _length(y: float, start: float, goal: float, shared: bool) -> float:
    """Return the cost of a lane: its detour and its corners, less if the source already has a line there."""
    corners = (abs(y - start) > 1e-6) + (abs(y - goal) > 1e-6)
    return abs(y - start) + abs(y - goal) + 0.3 * corners - 0.2 * shared


def _inside(y: float, box: Box) -> float:
    half = box.height / 2 - 0.06
    return min(max(y, box.y - half), box.y + half)


def _choose_ports(ways: list[_Way]) -> None:
    """Spread the ends of lines at one side of a box, in the order of their lanes."""
    arriving: dict[tuple[int, bool], list[_Way]] = {}
    for way in ways:
        arriving.setdefault((way.target.layer.index, way.source.column == way.target.column), []).append(way)
    for group in arriving.values():
        box = group[0].target
        if box.bottom > box.top:
            _spread(group)
            continue
        above = sorted((w for w in group if w.lane < box.y - 1e-6), key=lambda w: w.lane)
        below = sorted((w for w in group if w.lane > box.y + 1e-6), key=lambda w: -w.lane)
        for side, sign in ((above, -1), (below, 1)):
            step = 0.11 / max(len(side) - 1, 1)
            for k, way in enumerate(reversed(side)):
                way.end = box.y + sign * (0.06 + min(step, 0.06) * k)


def _spread(group: list[_Way]) -> None:
    """Keep the ends of lines apart at a tall box."""
    last = -math.inf
    for way in sorted(group, key=lambda w: (w.end, w.lane)):
        way.end = max(way.end, last + 0.1)
        last = way.end


def _choose_tracks(ways: list[_Way], columns: int) -> list[_Tracks]:
    """Return the tracks right of each column. Vertical parts that overlap get different tracks."""
    wanted: list[dict[tuple[int, float], list[float]]] = [{} for _ in range(columns)]
    for way in ways:
        for column, begin, end in _turns(way):
            wanted[column].setdefault((way.source.layer.index, begin), [begin]).append(end)
    tracks: list[_Tracks] = []
    for parts in wanted:
        taken: list[tuple[float, float, int]] = []  # top, bottom, track
        ordered = sorted(parts.items(), key=lambda p: (max(p[1]) - min(p[1]), p[0]))  # short ones next to their boxes
        for _, ys in ordered:
            top, bottom = min(ys) - _NEAR, max(ys) + _NEAR
            used = {n for t, b, n in taken if top < b and t < bottom}
            taken.append((top, bottom, next(n for n in range(len(parts)) if n not in used)))
        tracks.append({key: number for (key, _), (_, _, number) in zip(ordered, taken, strict=True)})
    return tracks


def _turns(way: _Way) -> list[tuple[int, float, float]]:
    """Return the vertical parts of a line: the column to the left, and y of the start and the end."""
    a, b = way.source.column, way.target.column
    if b <= a + 1:
        return [(a, way.start, way.end)] if abs(way.start - way.end) > 1e-6 or a == b else []
    parts = [(a, way.start, way.lane), (b - 1, way.lane, way.end)]
    return [p for p in parts if abs(p[1] - p[2]) > 1e-6]


def _place(
    layout: Layout, widths: Sequence[float], labels: Sequence[float], around: list[_Way], tracks: list[_Tracks]
) -> list[float]:
    """Set the x of columns and boxes, with space for labels and tracks; return the x of each column's first track."""
    leaving: dict[int, float] = {}
    for way in around:
        label = labels[way.source.layer.index] + LABEL
        leaving[way.source.column] = max(label, leaving.get(way.source.column, 0))
    x, first_track = MARGIN, []
    for column, numbers in enumerate(tracks):
        inside = [box for box in layout.boxes.values() if box.column == column]
        width = max(widths[box.layer.index] for box in inside)
        for box in inside:
            box.x, box.width = x, width
        first_track.append(x + width + leaving.get(column, 0.1))
        x = first_track[-1] + TRACK * (max(numbers.values(), default=-1) + 1) + ARROW
    layout.width = max(b.x + b.width for b in layout.boxes.values()) + EDGE
    return first_track


def _points(way: _Way, tracks: list[_Tracks], first_track: list[float]) -> tuple[tuple[float, float], ...]:
    a, b = way.source, way.target
    points = [(a.x + a.width, way.start)]
    for column, begin, end in _turns(way):
        x = first_track[column] + TRACK * tracks[column][a.layer.index, begin]
        points += [(x, begin), (x, end)]
    return (*points, (b.x + b.width if a.column == b.column else b.x, way.end))


def _label(layout: Layout, around: list[_Way]) -> None:
    """Place the label of each layer once on its vertical line and once on each way to the right."""
    for line in layout.lines:
        (x0, y0), (x1, y1) = line.points[:2]
        if len(line.points) == 2 and x0 == x1:
            layout.labels.append(Label(line.source, x0 + 0.06, (y0 + y1) / 2))
    out = {(w.source.layer.index, w.start): w.source for w in around}
    for (source, start), box in sorted(out.items()):
        layout.labels.append(Label(source, box.x + box.width + 0.05, start - 0.075))
