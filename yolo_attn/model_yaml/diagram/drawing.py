"""Draw a model as its graph: parts by colour, attention layers with a thick border, the map size on each arrow."""

from __future__ import annotations

from pathlib import Path

from ... import atomic_files
from ...errors import ArgumentError
from ...integration.queries.model_graph import Graph
from . import dot_and_mermaid, graph_layout, matplotlib_figure

TEXT_FORMATS = {".dot": dot_and_mermaid.dot_text, ".mmd": dot_and_mermaid.mermaid_text}
SUFFIXES = (".svg", ".png", ".pdf", *TEXT_FORMATS)


def draw(graph: Graph, path: str | Path, *, imgsz: int = 640, force: bool = False) -> str:
    """Draw a model with Matplotlib, or write its graph in the language of Graphviz or Mermaid.

    Args:
        graph: The model, from :func:`yolo_attn.integration.queries.model_graph.build`.
        path: The file to write: ``.svg``, ``.png`` or ``.pdf``; ``.dot`` for Graphviz, ``.mmd`` for Mermaid.
        imgsz: Side of the image in pixels, for the sizes on the arrows.
        force: Replace an existing file.

    Returns:
        A warning about characters that no installed font has; empty if there are none.

    Raises:
        ArgumentError: If the file cannot be written, or ``imgsz`` does not fit the model's strides.
    """
    target = atomic_files.check_output(path, SUFFIXES, force=force)
    largest = round(max(stride for layer in graph.layers for stride in graph_layout.strides(layer, graph)))
    if imgsz < largest or imgsz % largest:
        near = max(round(imgsz / largest), 1) * largest
        raise ArgumentError(
            f"imgsz={imgsz} must be a multiple of {largest}, the largest stride of {graph.file}; e.g. {near}"
        )
    suffix = target.suffix.lower()
    if suffix in TEXT_FORMATS:
        atomic_files.write_text(target, TEXT_FORMATS[suffix](graph, imgsz))
        return ""
    figure, missing = matplotlib_figure.drawn(graph, imgsz)
    with atomic_files.whole_file(target) as part:
        matplotlib_figure.save(figure, part, suffix.removeprefix("."))
    if not missing or suffix == ".svg":  # a viewer of SVG has its own fonts
        return ""
    return f"no installed font has {missing}; {target.name} shows boxes there. Install a font, or write .svg"
