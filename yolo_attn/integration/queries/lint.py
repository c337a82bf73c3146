"""Find common mistakes in a model YAML: rows that build but probably do not mean what their author wanted.

Each rule is a function that yields findings. :mod:`yolo_attn.model_yaml.check_report` calls them all.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ...messages import joined
from ...registry import BLOCKS
from .layer_text import all_named, named, shape
from .model_graph import Graph, Layer
from .row_sources import is_list

SCALE_LETTERS = "nslmx"  # the letters that Ultralytics reads as a scale in a file name
_HEADS = ("detect", "segment", "pose", "obb", "rtdetr", "classify", "depth")  # parts of the names of heads


@dataclass(frozen=True, slots=True)
class Finding:
    """A probable mistake.

    Attributes:
        text: What is wrong and what to write instead. It starts with a verb where it is about a layer.
        layer: Number of the layer, or None.
        line: Line of the file, from 1, or None.
    """

    text: str
    layer: int | None = None
    line: int | None = None


def is_head(name: str) -> bool:
    """Say whether a layer type is a head. Ultralytics, too, recognises a head by its name."""
    return any(part in name.lower() for part in _HEADS)


def replaced_input(layer: Layer, graph: Graph) -> Layer | None:
    """Return the input whose place an attention layer takes: an input of the same shape as its output."""
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


def bypassed_attention(graph: Graph, rows: Sequence[Sequence[Any]]) -> Iterator[Finding]:
    """Find layers that read the input of an attention layer while others read its output."""
    for layer in graph.layers[:-1]:
        source, readers = replaced_input(layer, graph), graph.readers(layer.index)
        if source is None or not readers:
            continue
        just = ", just before" if source.index == layer.index - 1 else ", an input of"
        end = _end_of_chain(layer, graph)
        for reader in _bypassing(layer, source, graph):
            yield Finding(
                f"reads layer {named(source)}{just} layer {named(layer)}. Both have {shape(layer)}, and "
                f"{all_named(readers)} {'read' if len(readers) > 1 else 'reads'} layer {layer.index}. To read the "
                f"attention output, write {_change(rows[reader.index], source.index, end.index, reader.index)}",
                reader.index,
            )


def unused_layer(graph: Graph) -> Iterator[Finding]:
    """Find layers whose output no layer reads. The last layer and layers without a map are no mistake."""
    for layer in graph.layers[:-1]:
        is_map = layer.channels is not None or bool(layer.maps)
        if graph.readers(layer.index) or not (is_map or layer.name in BLOCKS):
            continue
        source = replaced_input(layer, graph)
        bypassing = _bypassing(layer, source, graph) if source else []
        if source and bypassing:
            remedy = (
                f"{all_named(bypassing)} {'read' if len(bypassing) > 1 else 'reads'} layer {named(source)}, which has "
                f"the same shape; write {layer.index} there"
            )
        else:
            remedy = f"write {layer.index} in a later row, or delete the row and lower the layer numbers after it by 1"
        yield Finding(f"has no consumers and therefore no effect: {remedy}", layer.index)


def inside_a_stage(graph: Graph, rows: Sequence[Sequence[Any]]) -> Iterator[Finding]:
    """Find skip connections from the middle of a stage, e.g. a number that was not raised when rows were inserted."""
    for reader in graph.layers:
        for x in reader.reads if len(reader.reads) > 1 else ():
            if not 0 <= x < reader.index - 1:
                continue
            end = graph.layers[x]
            for later in graph.layers[x + 1 : reader.index]:
                same = later.reads == (end.index,) and later.stride == end.stride and later.name not in BLOCKS
                if not same or later.stride is None or not graph.readers(later.index):
                    break
                end = later
            if end.index != x and end.index not in reader.reads:
                yield Finding(
                    f"reads layer {named(graph.layers[x])} inside a stage that ends with layer {named(end)} (stride "
                    f"{end.stride}). To read the end of the stage, write "
                    f"{_change(rows[reader.index], x, end.index, reader.index)}",
                    reader.index,
                )


def same_stride_twice(graph: Graph) -> Iterator[Finding]:
    """Find a head that reads two maps of one stride."""
    seen: dict[int, Layer] = {}
    for x in graph.head.reads if _has_classes(graph.head.name) else ():
        layer = graph.layers[x]
        if layer.stride in seen:
            yield Finding(
                f"reads layers {all_named([seen[layer.stride], layer])}, both of stride {layer.stride}. A head reads "
                "one map per stride; correct one of the two numbers",
                graph.head.index,
            )
        if layer.stride is not None:
            seen[layer.stride] = layer


def fixed_class_count(rows: Sequence[Sequence[Any]]) -> Iterator[Finding]:
    """Find a head with a number in the place of ``nc``."""
    name, args = str(rows[-1][2]), rows[-1][3]
    if _has_classes(name) and args and type(args[0]) is int:
        yield Finding(
            f"has a fixed number of classes, {args[0]}. Write [nc{', ...' if len(args) > 1 else ''}], so that training "
            "uses the number of the data set",
            len(rows) - 1,
        )


def missing_head(graph: Graph) -> Iterator[Finding]:
    """Find a model whose last layer is no head."""
    if not is_head(graph.head.name):
        yield Finding(
            "is the last layer but not a head. Ultralytics derives the task from the head and assumes detection here; "
            "end the model with a head, e.g. Detect, [nc]",
            graph.head.index,
        )


def file_name(stem: str, scales: Sequence[str]) -> Iterator[Finding]:
    """Find a file name that selects no scale, or selects one by accident.

    Args:
        stem: The file name without its suffix.
        scales: The scales of the model YAML; empty where there are none.
    """
    if len(scales) < 2:
        return
    match = re.search(rf"yolo(e-)?v?\d+([{SCALE_LETTERS}])", stem)
    if match:
        rest, letter = stem[match.end() :], match[2]
        if re.match(r"[A-Za-z0-9]", rest) and not re.match(r"6(-|$)", rest):  # yolov8n6: Ultralytics' old P6 names
            yield Finding(
                f"Ultralytics reads the {letter!r} in the file name {stem}.yaml as the scale and always builds scale "
                f"{letter}. If it is not the scale, rename the file, e.g. {stem[: match.start(2)]}-{letter}{rest}.yaml"
            )
        return
    family = re.search(r"yolo(e-)?v?\d+", stem)
    unreachable = [s for s in scales[1:] if family is None or s not in SCALE_LETTERS]
    if unreachable and family is None:
        yield Finding(
            f"the file name {stem}.yaml has no place for a scale: Ultralytics builds scale {scales[0]}, never "
            f"{joined(unreachable)}. Rename it to e.g. yolo11-{stem}.yaml; yolo11{unreachable[0]}-{stem}.yaml is then "
            f"scale {unreachable[0]}"
        )
    elif unreachable:
        yield Finding(
            f"scale {joined(unreachable)} cannot be selected: Ultralytics reads only {joined(SCALE_LETTERS)} in a file "
            "name; use these letters as the names of the scales"
        )


def _has_classes(head: str) -> bool:
    """Say whether a layer type is a head that finds objects of classes. Depth estimation has none."""
    return is_head(head) and "depth" not in head.lower()


def _bypassing(layer: Layer, source: Layer, graph: Graph) -> list[Layer]:
    """Return the later layers that read ``source`` where they could read ``layer``."""
    ends = {layer.index, _end_of_chain(layer, graph).index}
    found = []
    for reader in graph.readers(source.index):
        both = bool(ends & set(reader.reads))
        parallel = any(ends & set(r.reads) and r is not graph.head for r in graph.readers(reader.index))
        if reader.index > layer.index and not both and not parallel and replaced_input(reader, graph) is not source:
            found.append(reader)
    return found


def _end_of_chain(layer: Layer, graph: Graph) -> Layer:
    """Return the last of a chain of attention layers, each of which takes the place of the one before."""
    while True:
        following = [r for r in graph.readers(layer.index) if replaced_input(r, graph) is layer]
        if len(following) != 1:
            return layer
        layer = following[0]


def _change(row: Sequence[Any], old: int, new: int, index: int) -> str:
    """Return ``17 instead of 16``, or ``-2 instead of -3`` where the row has a relative number."""
    f = row[0] if is_list(row[0]) else [row[0]]
    return f"{new} instead of {old}" if old in f else f"{new - index} instead of {old - index}"
