"""What a model's drawing says and in which colours, whoever draws it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...registry import BLOCKS

if TYPE_CHECKING:
    from ...integration.queries.model_graph import Graph, Layer

PARTS = ("backbone", "neck", "head")
# Tints of Okabe and Ito's colours, told apart with any colour vision; the text on them is nearly black.
COLOURS = {
    "backbone": "#cfe5f3",
    "neck": "#cdeadd",
    "head": "#ecd9e6",
    "attended": "#fde0b8",
    "attention": "#b34700",
    "border": "#5a6b78",
    "line": "#44525e",
    "band": "#f1f3f5",
    "text": "#16191d",
}
LEGEND = {
    "attention": "layer of yolo-attn",
    "output": "what it puts out",
    "line": "edges: channels x height x width",
}
_LONGEST = 30  # letters of a box's second line


@dataclass(frozen=True, slots=True)
class Style:
    """How a box looks."""

    fill: str
    border: str
    border_width: float


def is_attention(layer: Layer) -> bool:
    """Say whether a layer is one of the registry's."""
    return layer.name in BLOCKS


def part_of(layer: Layer, graph: Graph) -> str:
    """Return ``"backbone"``, ``"neck"`` or ``"head"``; a model YAML's list ``head`` holds the last two."""
    if layer is graph.head:
        return "head"
    return "backbone" if layer.part == "backbone" else "neck"


def parts_in(graph: Graph) -> list[str]:
    """Return the parts that the model has."""
    return [part for part in PARTS if any(part_of(layer, graph) == part for layer in graph.layers)]


def style(layer: Layer, graph: Graph) -> Style:
    """Return how a layer's box looks: attention by its colour and by a thick border."""
    if is_attention(layer):
        return Style(COLOURS["attended"], COLOURS["attention"], 2.6)
    return Style(COLOURS[part_of(layer, graph)], COLOURS["border"], 0.8)


def wording(layer: Layer) -> tuple[str, str]:
    """Return the two lines of a layer's box; the second is empty for Ultralytics' own layers."""
    first = f"{layer.index} {layer.name}"
    if not is_attention(layer):
        return first, ""
    kind = "pyramid level" if BLOCKS[layer.name].inputs == "pyramid" else "attention"
    second = f"{kind}: {options(layer)}" if options(layer) else kind
    return first, second if len(second) <= _LONGEST else second[: _LONGEST - 1] + "…"


def options(layer: Layer) -> str:
    """Return a layer's arguments as text: ``factor=32``."""
    parts = []
    for value in layer.args:
        parts += [f"{k}={v}" for k, v in value.items()] if isinstance(value, dict) else [str(value)]
    return ", ".join(parts)


def size(layer: Layer, imgsz: int) -> str:
    """Return the size of a layer's output, ``64x80x80``; of all its maps, for one with several; empty for no map."""
    if layer.channels is not None and layer.stride is not None:
        side = round(imgsz / layer.stride)
        return f"{layer.channels}x{side}x{side}"
    if len({stride for _, stride in layer.maps}) == 1:
        side = round(imgsz / layer.maps[0][1])
        channels = "+".join(str(c) for c, _ in layer.maps)
        return f"{channels if len(layer.maps) > 1 else layer.maps[0][0]}x{side}x{side}"
    return f"{len(layer.maps)} maps: " + ", ".join(str(c) for c, _ in layer.maps) if layer.maps else ""


def title(graph: Graph) -> str:
    """Return the drawing's title: file and scale."""
    return f"{graph.file}, scale {graph.scale}" if graph.scale else graph.file


def caption(graph: Graph) -> str:
    """Return the line below the title: how many layers, and which are of the registry."""
    ours = [f"{layer.index} {layer.name}" for layer in graph.layers if is_attention(layer)]
    return f"{len(graph.layers)} layers; of yolo-attn: {', '.join(ours) or 'none'}"
