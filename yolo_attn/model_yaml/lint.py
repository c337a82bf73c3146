"""What ``yolo-attn check`` warns of: rows that build and mean something else than their writer thought.

Each function looks for one kind of slip in a built model or in the file's name and text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..integration.queries.model_graph import level
from ..registry import BLOCKS
from .written import Twice

if TYPE_CHECKING:
    from ..integration.queries.model_graph import Graph, Layer

_LETTERS = "nslmx"  # those that Ultralytics reads as a scale
_HEADS = ("detect", "segment", "pose", "obb", "classify", "rtdetr", "depth")  # in a head's name, in lower case
_COUNTS_CLASSES = ("detect", "segment", "pose", "obb", "classify", "rtdetr")  # their first argument is nc


@dataclass(frozen=True, slots=True)
class Slip:
    """One finding.

    Attributes:
        text: What is there, and what would be right.
        layer: Number of the row, or None where it is about none.
        line: Line of the file, from 1; None where it is about none.
    """

    text: str
    layer: int | None = None
    line: int | None = None


def named(layer: Layer) -> str:
    """Return ``17 (EMA)``."""
    return f"{layer.index} ({layer.name})"


def several(layers: Sequence[Layer]) -> str:
    """Return ``18 (Conv), 19 (Concat) and 26 (Detect)``."""
    texts = [named(layer) for layer in layers]
    return " and ".join([", ".join(texts[:-1]), texts[-1]] if len(texts) > 1 else texts)


def shape(layer: Layer) -> str:
    """Return ``64 channels, stride 8 = P3``."""
    if layer.channels is None or layer.stride is None:
        return f"{len(layer.maps)} maps" if layer.maps else "no map"
    name = level(layer.stride)
    return f"{layer.channels} channels, stride {layer.stride}{f' = {name}' if name else ''}"


def stands_for(layer: Layer, graph: Graph) -> Layer | None:
    """Return the layer whose map a layer of the registry takes the place of: one that it reads, of the same shape."""
    spec = BLOCKS.get(layer.name)
    if spec is None or layer.channels is None:
        return None
    sources = [graph.layers[x] for x in layer.reads if x >= 0]
    if spec.inputs == "pyramid" and sources:
        sources = [graph.layers[x] for x in sources[0].reads if x >= 0]
    elif spec.inputs == "list" and isinstance(spec.output, int) and len(sources) == len(layer.reads):
        sources = [sources[spec.output]]
    same = [s for s in sources if (s.channels, s.stride) == (layer.channels, layer.stride)]
    return same[-1] if same else None


def attention_passed_by(graph: Graph, rows: Sequence[Sequence[Any]]) -> Iterator[Slip]:
    """Find attention that nobody reads, and readers of the map just before attention that others read behind it."""
    for layer in graph.layers[:-1]:
        if layer.name not in BLOCKS:
            continue
        source = stands_for(layer, graph)
        readers = graph.readers(layer.index)
        passing = _passing(layer, source, graph) if source else []
        if not readers:
            yield Slip(_unread(layer, source, passing), layer.index)
        elif source:
            end = _end(layer, graph)
            for reader in passing:
                yield Slip(_passed(layer, source, reader, end, rows[reader.index], graph), reader.index)


def _passing(layer: Layer, source: Layer, graph: Graph) -> list[Layer]:
    """Return the layers that read ``source`` though they could read ``layer``, which stands for it."""
    ends = {layer.index, _end(layer, graph).index}
    passing = []
    for reader in graph.readers(source.index):
        both = bool(ends & set(reader.reads))
        parallel = any(ends & set(r.reads) and r is not graph.head for r in graph.readers(reader.index))
        if reader.index > layer.index and not both and not parallel and stands_for(reader, graph) is not source:
            passing.append(reader)
    return passing


def _end(layer: Layer, graph: Graph) -> Layer:
    """Return the last of a chain of layers that stand for each other, each the one that reads the one before."""
    while True:
        behind = [r for r in graph.readers(layer.index) if stands_for(r, graph) is layer]
        if len(behind) != 1:
            return layer
        layer = behind[0]


def _unread(layer: Layer, source: Layer | None, passing: list[Layer]) -> str:
    if source and passing:
        verb = "read" if len(passing) > 1 else "reads"
        return (
            f"nobody reads layer {named(layer)}, so it does nothing: {several(passing)} {verb} layer {named(source)}, "
            f"which has the same shape; write {layer.index} there"
        )
    return f"nobody reads layer {named(layer)}, so it does nothing: write {layer.index} in a row behind it"


def _passed(layer: Layer, source: Layer, reader: Layer, end: Layer, row: Sequence[Any], graph: Graph) -> str:
    others = [r for r in graph.readers(layer.index) if r is not reader]
    just = "just before" if source.index == layer.index - 1 else "which is read by"
    return (
        f"reads layer {named(source)}, {just} layer {named(layer)}; both have {shape(layer)}, and {several(others)} "
        f"{'read' if len(others) > 1 else 'reads'} layer {layer.index}. If the attended map was meant, "
        f"write {_instead(row, source.index, end.index, reader.index)}"
    )


def _instead(row: Sequence[Any], old: int, new: int, index: int) -> str:
    """Return ``17 instead of 16``, in the form in which the row has the number."""
    f = row[0] if isinstance(row[0], list | tuple) else [row[0]]
    relative = old not in f
    return f"{new - index} instead of {old - index}" if relative else f"{new} instead of {old}"


def unread(graph: Graph) -> Iterator[Slip]:
    """Find layers of Ultralytics that nobody reads, but for the head and those that put out no map."""
    for layer in graph.layers[:-1]:
        is_map = layer.channels is not None or bool(layer.maps)
        if is_map and layer.name not in BLOCKS and not graph.readers(layer.index):
            yield Slip(
                f"nobody reads layer {named(layer)}, so it does nothing: write {layer.index} in a row behind it, or "
                "take the row out and lower the numbers behind it by 1",
                layer.index,
            )


def inside_a_stage(graph: Graph, rows: Sequence[Sequence[Any]]) -> Iterator[Slip]:
    """Find skip connections from the middle of a stage: a number that was not moved when rows were inserted."""
    for reader in graph.layers:
        if len(reader.reads) < 2:
            continue
        for x in reader.reads:
            if x < 0 or x >= reader.index - 1:
                continue
            end = graph.layers[x]
            for behind in graph.layers[x + 1 : reader.index]:
                one = behind.reads == (end.index,) and behind.stride == end.stride and behind.name not in BLOCKS
                if not one or behind.stride is None or not graph.readers(behind.index):
                    break
                end = behind
            if end.index != x and end.index not in reader.reads:
                source = graph.layers[x]
                yield Slip(
                    f"reads layer {named(source)}, inside a stage that ends with layer {named(end)} (stride "
                    f"{end.stride}). If the stage's end was meant, "
                    f"write {_instead(rows[reader.index], x, end.index, reader.index)}",
                    reader.index,
                )


def same_stride_twice(graph: Graph) -> Iterator[Slip]:
    """Find a head that reads two maps of one stride."""
    head = graph.head
    if not any(word in head.name.lower() for word in ("detect", "pose", "obb", "rtdetr", "segment")):
        return
    seen: dict[int, Layer] = {}
    for x in head.reads:
        layer = graph.layers[x]
        if layer.stride is None:
            continue
        if layer.stride in seen:
            yield Slip(
                f"reads layers {several([seen[layer.stride], layer])}, both of stride {layer.stride}; a head reads one "
                "map a stride: one number points to the wrong layer",
                head.index,
            )
        seen[layer.stride] = layer


def class_count_typed(rows: Sequence[Sequence[Any]]) -> Iterator[Slip]:
    """Find a head with a number of classes where ``nc`` should be."""
    name, args = str(rows[-1][2]), rows[-1][3]
    counts = any(word in name.lower() for word in _COUNTS_CLASSES)
    if counts and args and isinstance(args[0], int) and not isinstance(args[0], bool):
        yield Slip(
            f"the number of classes is typed in, {args[0]}: training takes the data set's only where the row says "
            f"[nc{', ...' if len(args) > 1 else ''}]",
            len(rows) - 1,
        )


def is_head(name: str) -> bool:
    """Say whether a layer type is a head: Ultralytics tells the task by such a word in its name."""
    return any(word in name.lower() for word in _HEADS)


def no_head(graph: Graph) -> Iterator[Slip]:
    """Find a model whose last row is no head, by which Ultralytics tells the task."""
    if not is_head(graph.head.name):
        yield Slip(
            f"the last row, {graph.head.name}, is no head, by which Ultralytics tells the task: it takes the model for "
            "a detector; put a head last, e.g. Detect, [nc]",
            graph.head.index,
        )


def keys_twice(twice: Sequence[Twice]) -> Iterator[Slip]:
    """Find keys that are written twice."""
    for key in twice:
        where = " and ".join(map(str, key.lines))
        which = ", ".join(v for v in key.values[:-1] if v)
        kept = f"the last, {key.values[-1]}, counts" if key.values[-1] else "the last counts"
        lost = f"; {which} is ignored" if which else ""
        yield Slip(f"{key.key!r} is written twice (lines {where}): {kept}{lost}; take one out", line=key.lines[-1])


def file_name(stem: str, scales: Sequence[str]) -> Iterator[Slip]:
    """Find a file name that gives no scale, or gives one by accident.

    Args:
        stem: Name of the file without its ending.
        scales: The scales of the model YAML; empty where there are none.
    """
    if len(scales) < 2:
        return
    match = re.search(rf"yolo(e-)?v?\d+([{_LETTERS}])", stem)
    if match:
        rest = stem[match.end() :]
        if re.match(r"[A-Za-z0-9]", rest) and not re.match(r"6(-|$)", rest):  # yolov8n6: Ultralytics' old P6 names
            apart = f"{stem[: match.start(2)]}-{stem[match.start(2) :]}.yaml"
            yield Slip(
                f"the letter {match[2]!r} in the file's name {stem}.yaml is read as the scale: this is model "
                f"{match[2]}, whatever else is asked for. If it is none, name the file e.g. {apart}"
            )
        return
    place = re.search(r"yolo(e-)?v?\d+", stem)
    unreachable = [s for s in scales[1:] if place is None or s not in _LETTERS]
    if unreachable and place is None:
        yield Slip(
            f"the file's name {stem}.yaml has no place for a scale's letter: Ultralytics builds scale {scales[0]}, "
            f"never {', '.join(unreachable)}. Name it like yolo11-{stem}.yaml, and yolo11{unreachable[0]}-{stem}.yaml "
            f"is scale {unreachable[0]}"
        )
    elif unreachable:
        yield Slip(
            f"scale {', '.join(unreachable)} cannot be chosen: Ultralytics reads only {', '.join(_LETTERS)} in a "
            "file's name; name the scales by these letters"
        )
