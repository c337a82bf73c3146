"""Choose the texts and colours of a model's drawing."""

from __future__ import annotations

from dataclasses import dataclass

from ...integration.queries.model_graph import Graph, Layer
from ...messages import counted, joined
from ...registry import BLOCKS
from ..layer_text import arguments_of

PARTS = ("backbone", "neck", "head")
# Tints of Okabe and Ito's colours, which all kinds of colour vision can tell apart; the text on them is nearly black.
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
_MOST_CHARACTERS = 30  # in the second line of a box


@dataclass(frozen=True, slots=True)
class Style:
    """The colours and the border width of a box."""

    fill: str
    border: str
    border_width: float


def is_attention(layer: Layer) -> bool:
    """Say whether a layer's type is in the registry."""
    return layer.name in BLOCKS


def part_of(layer: Layer, graph: Graph) -> str:
    """Return ``"backbone"``, ``"neck"`` or ``"head"``. The list ``head`` of a model YAML holds the neck, too."""
    if layer is graph.head:
        return "head"
    return "backbone" if layer.part == "backbone" else "neck"


def parts_in(graph: Graph) -> list[str]:
    """Return the parts that the model has."""
    return [part for part in PARTS if any(part_of(layer, graph) == part for layer in graph.layers)]


def box_style(layer: Layer, graph: Graph) -> Style:
    """Return the look of a layer's box. Attention layers have their own colour and a thick border."""
    if is_attention(layer):
        return Style(COLOURS["attended"], COLOURS["attention"], 2.6)
    return Style(COLOURS[part_of(layer, graph)], COLOURS["border"], 0.8)


def box_text(layer: Layer) -> tuple[str, str]:
    """Return the two lines of a layer's box. The second is empty for Ultralytics' own layers."""
    first = f"{layer.index} {layer.name}"
    if not is_attention(layer):
        return first, ""
    kind = "pyramid level" if BLOCKS[layer.name].inputs == "pyramid" else "attention"
    second = f"{kind}: {arguments_of(layer)}" if layer.args else kind
    return first, second if len(second) <= _MOST_CHARACTERS else second[: _MOST_CHARACTERS - 1] + "…"


def title(graph: Graph) -> str:
    """Return the drawing's title: file and scale."""
    return f"{graph.file}, scale {graph.scale}" if graph.scale else graph.file


def caption(graph: Graph) -> str:
    """Return the line below the title: the number of layers, and the attention layers."""
    attention = joined(f"{layer.index} {layer.name}" for layer in graph.layers if is_attention(layer))
    return f"{counted(len(graph.layers), 'layer')}; attention: {attention or 'none'}"
