"""A model's drawing with graphviz: the graph in the DOT language, and the ``dot`` program that lays it out."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import LayerError
from ...integration.queries.model_graph import level
from .style import COLOURS, LEGEND, Style, caption, is_attention, part_of, parts_in, size, style, title, wording

if TYPE_CHECKING:
    from ...integration.queries.model_graph import Graph, Layer

_SECONDS = 60  # more than any model needs


def program() -> str | None:
    """Return the path of graphviz' ``dot``, or None."""
    return shutil.which("dot")


def render(graph: Graph, path: Path, suffix: str, imgsz: int) -> None:
    """Write the drawing with graphviz.

    Raises:
        LayerError: If there is no ``dot``, or it fails.
    """
    dot = program()
    if dot is None:
        raise LayerError("graphviz is not installed (no program 'dot' on PATH); leave engine=graphviz out")
    try:
        text = dot_text(graph, imgsz)
        done = subprocess.run(
            [dot, f"-T{suffix}", *(["-Gdpi=140"] if suffix == "png" else [])],
            input=text.encode(),
            capture_output=True,
            timeout=_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LayerError(f"graphviz ({dot}) failed: {error}; engine=matplotlib draws without it") from error
    if done.returncode or not done.stdout:
        said = " ".join(done.stderr.decode(errors="replace").split()) or f"exit status {done.returncode}"
        raise LayerError(f"graphviz ({dot}) failed: {said}; engine=matplotlib draws without it")
    path.write_bytes(done.stdout)


def dot_text(graph: Graph, imgsz: int) -> str:
    """Return the graph in the DOT language: a cluster for each run of layers of one part and stride."""
    font = 'fontname="DejaVu Sans,Verdana,Arial,sans-serif"'
    legend = "".join(f'<td bgcolor="{COLOURS[part]}">  {part}  </td>' for part in parts_in(graph))
    if any(map(is_attention, graph.layers)):
        look = f'bgcolor="{COLOURS["attended"]}" color="{COLOURS["attention"]}" border="3"'
        legend += f"<td {look}>  {LEGEND['attention']}  </td>"
    legend += f'<td border="0">{LEGEND["line"]}</td>'
    lines = [
        "digraph model {",
        f"  graph [rankdir=TB, labelloc=t, labeljust=l, nodesep=0.2, ranksep=0.3, newrank=true, {font}, fontsize=11,",
        f"    label=<<table border='0' cellspacing='4'><tr><td align='left'><b>{_html(title(graph))}</b></td></tr>"
        f"<tr><td align='left'>{_html(caption(graph))}</td></tr>"
        f"<tr><td align='left'><table border='0' cellborder='1' cellspacing='6'><tr>{legend}</tr></table></td></tr>"
        "</table>>];",
        f'  node [shape=box, style="filled,rounded", {font}, fontsize=11, height=0.4, margin="0.14,0.04"];',
        f'  edge [{font}, fontsize=8, color="{COLOURS["line"]}", fontcolor="{COLOURS["text"]}", arrowsize=0.7];',
        f'  image [label="image 3x{imgsz}x{imgsz}", shape=plaintext, style=""];',
    ]
    for k, run in enumerate(_runs(graph)):
        lines += _cluster(k, run, graph, imgsz)
    lines.append('  image -> 0 [id="edge-image-0", weight=50];')
    for layer in graph.layers:
        for x in dict.fromkeys(x for x in layer.reads if x >= 0):
            source = graph.layers[x]
            words = [f'id="edge-{x}-{layer.index}"', f'label=" {size(source, imgsz)} "']
            if is_attention(source):
                words += [f'color="{COLOURS["attention"]}"', "penwidth=2"]
            words.append("weight=50" if x == layer.index - 1 else "weight=1")
            lines.append(f"  {x} -> {layer.index} [{', '.join(words)}];")
    return "\n".join([*lines, "}", ""])


def _runs(graph: Graph) -> list[list[Layer]]:
    """Split the layers into runs of one part of the model and one stride."""
    runs: list[list[Layer]] = []
    for layer in graph.layers:
        same = runs and (runs[-1][0].stride, part_of(runs[-1][0], graph)) == (layer.stride, part_of(layer, graph))
        if same and layer.stride:
            runs[-1].append(layer)
        else:
            runs.append([layer])
    return runs


def _cluster(number: int, run: list[Layer], graph: Graph, imgsz: int) -> list[str]:
    nodes = [f"    {_node(layer, style(layer, graph))}" for layer in run]
    stride = run[0].stride
    if not stride:
        return nodes
    side = round(imgsz / stride)
    words = [f"{part_of(run[0], graph)} {level(stride)}".strip(), f"stride {stride}", f"{side}x{side}"]
    text = "".join(f"{w}\\l" for w in words)
    first = run[0].index  # the name stands left of it, where no line goes
    return [
        f"  subgraph cluster_{number} {{",
        f'    graph [label="", style="filled,rounded", color="{COLOURS["band"]}"];',
        f'    stage_{number} [label="{text}", shape=plaintext, style="", fontsize=8];',
        *nodes,
        f"    {{rank=same; stage_{number} -> {first} [style=invis, weight=1];}}",
        "  }",
    ]


def _node(layer: Layer, look: Style) -> str:
    first, second = wording(layer)
    label = f"{first}\\n{second}" if second else first
    escaped = label.replace('"', '\\"')
    return (
        f'{layer.index} [id="layer-{layer.index}", label="{escaped}", fillcolor="{look.fill}", color="{look.border}", '
        f"penwidth={look.border_width}];"
    )


def _html(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
