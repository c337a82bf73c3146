"""``yolo-attn diagram``: a model drawn as its graph, so that one sees where a layer is.

The parts of the model have colours, layers of the registry a thick border and their name's second line; every line
says what size of map goes along it. Drawn by graphviz where its program ``dot`` is installed, else with matplotlib.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ... import atomic_files
from ...errors import ArgumentError, LayerError
from ...messages import nearest
from . import graphviz, matplotlib_figure

if TYPE_CHECKING:
    from ...integration.queries.model_graph import Graph

SUFFIXES = (".svg", ".png", ".pdf")
ENGINES = ("auto", "graphviz", "matplotlib")


def check_words(output: str | Path, engine: str, *, force: bool) -> Path:
    """Check, before any work, where and with what to draw; return the path to write.

    Raises:
        ArgumentError: If the file cannot be written there (another suffix, no such folder, it exists and ``force`` is not
            set), or there is no such engine.
    """
    if engine not in ENGINES:
        raise ArgumentError(f"engine={engine!r} must be one of {', '.join(ENGINES)}.{nearest(engine, ENGINES)}")
    return atomic_files.check(output, SUFFIXES, force=force)


def draw(graph: Graph, path: str | Path, *, imgsz: int = 640, engine: str = "auto", force: bool = False) -> str:
    """Draw a model.

    Args:
        graph: The model, from :func:`yolo_attn.integration.queries.model_graph.build`.
        path: File to write: ``.svg``, ``.png`` or ``.pdf``.
        imgsz: Side of the image in pixels, for the sizes on the lines.
        engine: ``"graphviz"``, ``"matplotlib"``, or ``"auto"``: graphviz if it is installed and works.
        force: Replace a file that exists.

    Returns:
        What it was drawn with, ``"graphviz"`` or ``"matplotlib"``.

    Raises:
        ArgumentError: If the file cannot be written, or an argument makes no sense; nothing is written then.
        LayerError: If ``engine="graphviz"`` fails.
    """
    target = check_words(path, engine, force=force)
    largest = max(stride for layer in graph.layers for stride in _strides(layer.stride, layer.maps))
    if imgsz < largest or imgsz % largest:
        near = max(round(imgsz / largest), 1) * largest
        raise ArgumentError(
            f"imgsz={imgsz} must be a multiple of {largest}, the largest stride of {graph.file}; e.g. {near}"
        )
    used: list[str] = []
    suffix = target.suffix.lower().removeprefix(".")
    atomic_files.write(target, lambda file: used.append(_draw(graph, file, suffix, imgsz, engine)))
    return used[0]


def _strides(stride: int | None, maps: tuple[tuple[int, int], ...]) -> list[int]:
    return [s for s in (stride, *(s for _, s in maps)) if s and s >= 1] or [1]


def _draw(graph: Graph, path: Path, suffix: str, imgsz: int, engine: str) -> str:
    if engine == "graphviz" or (engine == "auto" and graphviz.program()):
        try:
            graphviz.render(graph, path, suffix, imgsz)
        except LayerError:
            if engine == "graphviz":
                raise
        else:
            return "graphviz"
    matplotlib_figure.save(matplotlib_figure.figure(graph, imgsz), path, suffix)
    return "matplotlib"
