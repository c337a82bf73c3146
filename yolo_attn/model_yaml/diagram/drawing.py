"""Draw a model as its graph: parts by colour, attention layers with a thick border, the map size on each arrow."""

from __future__ import annotations

from pathlib import Path

from ... import atomic_files
from ...integration.queries import yolo_command
from ...integration.queries.model_graph import Graph
from . import dot_and_mermaid, graph_layout, matplotlib_figure

TEXT_FORMATS = {".dot": dot_and_mermaid.dot_text, ".mmd": dot_and_mermaid.mermaid_text}
SUFFIXES = (".svg", ".png", ".pdf", *TEXT_FORMATS)


def draw(graph: Graph, path: str | Path, *, imgsz: int = 640, titled: bool = True, force: bool = False) -> str:
    """Draw a model with Matplotlib, or write its graph in the language of Graphviz or Mermaid.

    Args:
        graph: The model, from :func:`yolo_attn.integration.queries.model_graph.build`.
        path: The file to write: ``.svg``, ``.png`` or ``.pdf``; ``.dot`` for Graphviz, ``.mmd`` for Mermaid.
        imgsz: Side of the image in pixels, for the sizes on the arrows.
        titled: Write the file, the scale and the attention layers above the drawing.
        force: Replace an existing file.

    Returns:
        A warning about characters that no installed font has; empty if there are none.

    Raises:
        ArgumentError: If the file cannot be written, or ``imgsz`` does not fit the model's strides.
    """
    target = atomic_files.check_output(path, SUFFIXES, force=force)
    yolo_command.check_imgsz(imgsz, _largest_stride(graph), graph.file)
    suffix = target.suffix.lower()
    if suffix in TEXT_FORMATS:
        atomic_files.write_text(target, TEXT_FORMATS[suffix](graph, imgsz, titled=titled))
        return ""
    figure, missing = matplotlib_figure.drawn(graph, imgsz, titled=titled)
    with atomic_files.whole_file(target) as part:
        matplotlib_figure.save(figure, part, suffix.removeprefix("."))
    if not missing or suffix == ".svg":  # a viewer of SVG has its own fonts
        return ""
    return f"no installed font has {missing}; {target.name} shows boxes there. Install a font, or write .svg"


def fits(graph: Graph, imgsz: int) -> bool:
    """Return whether an image of this size has a whole number of positions in each map of the model."""
    return imgsz > 0 and imgsz % _largest_stride(graph) == 0


def _largest_stride(graph: Graph) -> int:
    return round(max(stride for layer in graph.layers for stride in graph_layout.strides(layer, graph)))
