"""Places in a model by name, so that one command holds for every model.

==================  ====================================================================================
``backbone.P3``     the backbone's last map of stride 8 (``P4``: 16, ...; P1 to P7 where there are any)
``backbone.end``    the backbone's last layer
``neck.P3``         the map of stride 8 that the head (Detect, Segment, ...) reads
``before_neck``     the backbone's last layer, the row standing first among the neck's
``before_head``     every map that the head reads, the rows standing right before it
``layer:10``        layer 10 of the base model
``each:C3k2``       every layer of that type; ``backbone.each:C3k2`` and ``neck.each:C3k2`` in one part
==================  ====================================================================================
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import LayerError
from ..integration.queries.model_graph import level
from ..messages import nearest

if TYPE_CHECKING:
    from ..integration.queries.model_graph import Graph, Layer

FORMS = "layer:NUMBER, each:TYPE, backbone.each:TYPE, neck.each:TYPE"


@dataclass(frozen=True, slots=True)
class Place:
    """Where rows go.

    Attributes:
        name: The name that was asked for.
        layer: The layer whose output the new row stands behind.
        after: The layer behind which the row is written.
        before: The layer right before which it is written, for places at the front of a part; else None.
        part: The list of the YAML that it goes to.
        title: The place in words without numbers, for the row's comment.
    """

    name: str
    layer: int
    after: int
    before: int | None
    part: str
    title: str


def named(graph: Graph) -> dict[str, list[Place]]:
    """Return every named place of a model, in order; ``before_head`` may be several maps, the others are one."""
    layers = graph.layers
    last = max(layer.index for layer in layers if layer.part == "backbone")
    found: dict[str, list[Place]] = {}
    for layer in layers[: last + 1]:
        if level(layer.stride):
            found[f"backbone.{level(layer.stride)}"] = [_behind(layer, f"backbone.{level(layer.stride)}")]
    if layers[last].channels and layers[last] is not graph.head:
        found["backbone.end"] = [_behind(layers[last], "backbone.end")]
        if last + 1 < graph.head.index:
            found["before_neck"] = [Place("before_neck", last, last, last + 1, "head", "the backbone's last map")]
    maps = [layers[x] for x in graph.head.reads if x >= 0 and layers[x].channels]
    necks = [layer for layer in maps if layer.part == "head" and level(layer.stride)]
    for layer in sorted(necks, key=lambda n: n.stride or 0):
        found.setdefault(f"neck.{level(layer.stride)}", []).append(_behind(layer, f"neck.{level(layer.stride)}"))
    if maps:
        at, part = graph.head.index, graph.head.part
        found["before_head"] = [Place("before_head", m.index, at - 1, at, part, _title(graph, m)) for m in maps]
    return found


def find(
    graph: Graph, name: str, *, is_type: Sequence[str] = (), numbers: Mapping[int, int] | None = None
) -> list[Place]:
    """Return the places that ``name`` means.

    Args:
        graph: The model.
        name: A place's name.
        is_type: Layer types that exist, for the nearest name to a type that the model does not have.
        numbers: Base model's layer number -> number of the layer that stands for it, for ``layer:``.

    Raises:
        LayerError: If the model has no such place; names the nearest and those that it has.
    """
    places = named(graph)
    if name in places:
        found = places[name]
        if len(found) > 1 and name != "before_head":
            which = " or ".join(f"layer:{p.layer}" for p in found)
            raise LayerError(f"place {name!r} of {graph.file} is {len(found)} maps; name one by {which}")
        return found
    part, _, kind = name.rpartition("each:")
    if ":" not in name:
        hint = nearest(name, places)
        raise LayerError(f"{graph.file} has no place {name!r}.{hint} It has {', '.join(places)}, and {FORMS}")
    if name.startswith("layer:"):
        return [_numbered(graph, name, numbers)]
    if not name.partition(":")[0].endswith("each") or part not in ("", "backbone.", "neck."):
        raise LayerError(f"{name!r} is no place.{nearest(name, [*places, 'layer:', 'each:'])} Write one of {FORMS}")
    within = [layer for layer in graph.layers[:-1] if part in ("", _part(layer))]
    matching = [_behind(layer, name) for layer in within if layer.name == kind]
    if not matching:
        types = sorted({layer.name for layer in within})
        where = f"the {part[:-1]} of {graph.file}" if part else graph.file
        raise LayerError(f"{where} has no layer {kind!r}.{nearest(kind, [*types, *is_type])} It has {', '.join(types)}")
    several = [p for p in matching if graph.layers[p.layer].channels is None]
    if several:
        raise LayerError(f"{name!r}: layer {several[0].layer} puts out no single map; a row cannot stand behind it")
    return matching


def _numbered(graph: Graph, name: str, numbers: Mapping[int, int] | None) -> Place:
    text = name.partition(":")[2]
    known = dict(numbers) if numbers is not None else {layer.index: layer.index for layer in graph.layers}
    if not text.isdecimal() or int(text) not in known:
        raise LayerError(f"{graph.file} has no layer {text!r}; write layer:0 to layer:{max(known) - 1}")
    layer = graph.layers[known[int(text)]]
    if layer is graph.head:
        raise LayerError(f"layer {text} of {graph.file} is its head ({layer.name}); use before_head, or layer:0 to ...")
    if layer.channels is None:
        raise LayerError(f"layer {text} of {graph.file} ({layer.name}) puts out no single map; name another layer")
    return _behind(layer, name)


def _behind(layer: Layer, name: str) -> Place:
    title = f"the {layer.name}" if ":" in name else name
    return Place(name, layer.index, layer.index, None, layer.part, title)


def _part(layer: Layer) -> str:
    return "backbone." if layer.part == "backbone" else "neck."


def _title(graph: Graph, layer: Layer) -> str:
    """Return the name under which the head reads a map."""
    part = "backbone" if layer.part == "backbone" else "neck"
    return f"{part}.{level(layer.stride)}, for {graph.head.name} alone"
