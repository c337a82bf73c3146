"""Choose the texts and colours of a model's drawing."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

from ...integration.queries.layer_text import arguments_of
from ...integration.queries.model_graph import Graph, Layer
from ...messages import counted, joined, printable
from ...registry import BLOCKS

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
_LINE = 30  # characters of a line below a layer's name, if two such lines are enough


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


def box_text(layer: Layer) -> tuple[str, ...]:
    """Return the lines of a layer's box: its number and type, then one or two with its arguments, none left out.

    An attention layer has its options by name. Ultralytics' own layers have the arguments of their row in the YAML.
    """
    first, arguments = f"{layer.index} {layer.name}", printable(arguments_of(layer))
    if is_attention(layer):
        kind = "pyramid level" if BLOCKS[layer.name].inputs == "pyramid" else "attention"
        second = f"{kind}: {arguments}" if arguments else kind
    else:
        second = f"[{arguments}]" if arguments else ""
    width = _LINE
    while len(lines := textwrap.wrap(second, width, break_long_words=False, break_on_hyphens=False)) > 2:
        width += 1
    return first, *lines


def title(graph: Graph) -> str:
    """Return the drawing's title: file and scale."""
    return printable(f"{graph.file}, scale {graph.scale}" if graph.scale else graph.file)


def caption(graph: Graph) -> str:
    """Return the line below the title: the number of layers, and the attention layers."""
    attention = joined(f"{layer.index} {layer.name}" for layer in graph.layers if is_attention(layer))
    return f"{counted(len(graph.layers), 'layer')}; attention: {attention or 'none'}"
