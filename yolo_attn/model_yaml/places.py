"""Find places in a model by name, so that one command works for every model.

==================  =========================================================================================
``backbone.P3``     after the backbone's last map of stride 8 (``P4``: 16, ...; P1 to P7 where they exist)
``backbone.end``    after the backbone's last layer
``neck.P3``         after the map of stride 8 that the head (Detect, Segment, ...) reads
``before_neck``     after the backbone's last layer, as the first row of the neck
``before_head``     right before the head, one row for each map that it reads
``layer:10``        after layer 10 of the base model
``each:C3k2``       after every layer of that type; ``backbone.each:C3k2`` or ``neck.each:C3k2`` in one part
==================  =========================================================================================
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..errors import LayerError
from ..integration.queries.layer_types import ultralytics_layers
from ..integration.queries.model_graph import Graph, Layer, level
from ..messages import joined, nearest

FORMS = "layer:NUMBER, each:TYPE, backbone.each:TYPE, neck.each:TYPE"


@dataclass(frozen=True, slots=True)
class Place:
    """A position for a new row.

    Attributes:
        name: The requested name.
        layer: The layer whose output the new row reads.
        after: The layer that the new row follows in the file.
        before_next: It belongs to the layer after it: rows of other places after the same layer come first.
        part: The list of the YAML that gets the row.
        title: The place without numbers, for the row's comment.
    """

    name: str
    layer: int
    after: int
    before_next: bool
    part: str
    title: str


def named(graph: Graph) -> dict[str, list[Place]]:
    """Return every named place of a model, in order. ``before_head`` can be several maps."""
    layers, head = graph.layers, graph.head
    last = max(layer.index for layer in layers if layer.part == "backbone")
    maps = [layers[x] for x in head.reads if x >= 0 and layers[x].channels]
    found: dict[str, list[Place]] = {}
    for layer in layers[: last + 1]:
        if level(layer.stride):
            name = f"backbone.{level(layer.stride)}"
            found[name] = [_after(layer, name)]
    if layers[last].channels and layers[last] is not head:
        found["backbone.end"] = [_after(layers[last], "backbone.end")]
        if last + 1 < head.index:
            found["before_neck"] = [Place("before_neck", last, last, True, "head", "the backbone's last map")]
    for layer in sorted(maps, key=lambda m: m.stride or 0):
        if layer.part == "head" and level(layer.stride):
            name = f"neck.{level(layer.stride)}"
            found.setdefault(name, []).append(_after(layer, name))
    for m in maps:
        title = f"{_part(m)}.{level(m.stride)}, for {head.name} only"
        found.setdefault("before_head", []).append(
            Place("before_head", m.index, head.index - 1, True, head.part, title)
        )
    return found


def find(graph: Graph, name: str, numbers: Mapping[int, int]) -> list[Place]:
    """Return the places with a name.

    Args:
        graph: The model.
        name: The name of a place.
        numbers: Layer number of the base model -> number of the layer that stands for it now, for ``layer:``.

    Raises:
        LayerError: If the model has no such place. Names the nearest place and all places of the model.
    """
    places = named(graph)
    if name in places:
        found = places[name]
        if len(found) > 1 and name != "before_head":
            choices = joined([f"layer:{p.layer}" for p in found], " or ")
            raise LayerError(f"place {name!r} of {graph.file} is {len(found)} maps; choose one with {choices}")
        return found
    part, _, kind = name.rpartition("each:")
    if ":" not in name:
        hint = nearest(name, places)
        raise LayerError(f"{graph.file} has no place {name!r}.{hint} Places: {joined(places)}, {FORMS}")
    if name.startswith("layer:"):
        return [_numbered(graph, name, numbers)]
    if not name.partition(":")[0].endswith("each") or part not in ("", "backbone.", "neck."):
        hint = nearest(f"{name.partition(':')[0]}:", ["layer:", "each:"])
        raise LayerError(f"{name!r} is not a place.{hint} Write one of {FORMS}")
    within = [layer for layer in graph.layers[:-1] if part.removesuffix(".") in ("", _part(layer))]
    matching = [_after(layer, name) for layer in within if layer.name == kind]
    if not matching:
        present = sorted({layer.name for layer in within})
        where = f"the {part[:-1]} of {graph.file}" if part else graph.file
        raise LayerError(
            f"{where} has no layer {kind!r}.{nearest(kind, [*present, *ultralytics_layers()])} Types: {joined(present)}"
        )
    without_map = [p.layer for p in matching if graph.layers[p.layer].channels is None]
    if without_map:
        raise LayerError(
            f"{name!r}: layer {without_map[0]} has several maps or none as its output; no row can follow it"
        )
    return matching


def _numbered(graph: Graph, name: str, numbers: Mapping[int, int]) -> Place:
    text = name.partition(":")[2]
    if not text.isdecimal() or int(text) not in numbers:
        raise LayerError(f"{graph.file} has no layer {text!r}; write layer:0 to layer:{max(numbers) - 1}")
    layer = graph.layers[numbers[int(text)]]
    what = f"layer {text} of {graph.file} ({layer.name})"
    if layer is graph.head:
        raise LayerError(f"{what} is the head; use before_head, or layer:0 to layer:{max(numbers) - 1}")
    if layer.channels is None:
        raise LayerError(f"{what} has several maps or none as its output; name another layer")
    return _after(layer, name)


def _after(layer: Layer, name: str) -> Place:
    title = f"the {layer.name}" if ":" in name else name
    return Place(name, layer.index, layer.index, False, layer.part, title)


def _part(layer: Layer) -> str:
    return "backbone" if layer.part == "backbone" else "neck"
