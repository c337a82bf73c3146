"""Write a model's graph as text: in the DOT language of Graphviz, or as a Mermaid flowchart."""

from __future__ import annotations

from collections.abc import Iterator

from ...integration.queries.layer_text import size
from ...integration.queries.model_graph import Graph, Layer
from .style import COLOURS, box_style, box_text, is_attention, part_of, parts_in, title

IMAGE = "image"  # name of the node that stands for the image


def dot_text(graph: Graph, imgsz: int, *, titled: bool = True) -> str:
    """Return the graph in DOT: a cluster for each part, a node for each layer, and edges with the map size."""
    label = f'label="{_escaped(title(graph))}"; labelloc=t; ' if titled else ""
    lines = [
        "digraph model {",
        f"  {label}newrank=true; nodesep=0.2; ranksep=0.3;",
        '  node [shape=box, style="filled,rounded", fontname="sans-serif", fontsize=11];',
        f'  edge [fontname="sans-serif", fontsize=8, color="{COLOURS["line"]}"];',
        f'  {IMAGE} [label="image 3x{imgsz}x{imgsz}", shape=plaintext, style=""];',
    ]
    for part in parts_in(graph):
        lines.append(f'  subgraph cluster_{part} {{ label="{part}"; color="{COLOURS["border"]}";')
        for layer in _of_part(graph, part):
            look = box_style(layer, graph)
            text = "\\n".join(map(_escaped, box_text(layer)))
            colours = f'fillcolor="{look.fill}", color="{look.border}", penwidth={look.border_width}'
            lines.append(f'    {layer.index} [label="{text}", {colours}];')
        lines.append("  }")
    lines += [f'  {source} -> {target} [label="{text}"];' for source, target, text in _edges(graph, imgsz)]
    return "\n".join([*lines, "}", ""])


def mermaid_text(graph: Graph, imgsz: int, *, titled: bool = True) -> str:
    """Return the graph as a Mermaid flowchart, e.g. for a ``mermaid`` block in Markdown."""
    head = ["---", f'title: "{_escaped(title(graph))}"', "---"] if titled else []
    lines = [*head, "flowchart TD"]
    lines.append(f'  {IMAGE}(["image 3x{imgsz}x{imgsz}"])')
    for part in parts_in(graph):
        lines.append(f"  subgraph part_{part} [{part}]")
        for layer in _of_part(graph, part):
            text = "<br>".join(box_text(layer)).replace('"', "#quot;")
            lines.append(f'    {layer.index}["{text}"]')
        lines.append("  end")
    for source, target, text in _edges(graph, imgsz):
        lines.append(f'  {source} -->|"{text}"| {target}' if text else f"  {source} --> {target}")
    for part in parts_in(graph):
        plain = [str(layer.index) for layer in _of_part(graph, part) if not is_attention(layer)]
        lines += _class(part, COLOURS[part], COLOURS["border"], 1, plain)
    attention = [str(layer.index) for layer in graph.layers if is_attention(layer)]
    lines += _class("attention", COLOURS["attended"], COLOURS["attention"], 3, attention)
    return "\n".join([*lines, ""])


def _of_part(graph: Graph, part: str) -> list[Layer]:
    return [layer for layer in graph.layers if part_of(layer, graph) == part]


def _edges(graph: Graph, imgsz: int) -> Iterator[tuple[str, str, str]]:
    """Yield each edge's source, target and map size."""
    for layer in graph.layers:
        for x in dict.fromkeys(layer.reads):
            yield (IMAGE if x < 0 else str(x)), str(layer.index), "" if x < 0 else size(graph.layers[x], imgsz)


def _class(name: str, fill: str, border: str, width: int, nodes: list[str]) -> list[str]:
    look = f"fill:{fill},stroke:{border},stroke-width:{width}px,color:{COLOURS['text']}"
    return [f"  classDef {name} {look}", f"  class {','.join(nodes)} {name}"] if nodes else []


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
