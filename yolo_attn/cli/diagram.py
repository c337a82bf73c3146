"""``yolo-attn diagram``: draw a model as a graph."""

from __future__ import annotations

import sys
from typing import Annotated

from cyclopts import Parameter

from .. import atomic_files, install


def run(
    model: str,
    *,
    output: Annotated[str, Parameter(alias="-o")],
    scale: str = "",
    imgsz: int = 640,
    no_title: Annotated[bool, Parameter(negative=())] = False,
    force: bool = False,
) -> int:
    """Draw a model as a graph, with its attention layers highlighted.

    Args:
        model: Model YAML: a path, or a name that Ultralytics or this project ships.
        output: File to write: .svg, .png, .pdf, .dot (Graphviz) or .mmd (Mermaid).
        scale: Scale to draw. Default: the letter in the name, else the smallest scale.
        imgsz: Image size in pixels, for the sizes of the maps.
        no_title: Leave out the title and the line below it, e.g. for a figure with its own caption.
        force: Overwrite an existing file.

    Examples:
        yolo-attn diagram yolo11n-ema.yaml -o yolo11n-ema.svg
        yolo-attn diagram yolo26-afpn.yaml -o afpn.png --scale m --imgsz 1280
        yolo-attn diagram yolo11n-ema.yaml -o yolo11n-ema.mmd --no-title
    """
    install()
    from ..integration.queries import model_findings  # start-up time
    from ..model_yaml.diagram import drawing  # start-up time

    atomic_files.check_output(output, drawing.SUFFIXES, force=force)  # before the model is built
    graph, warnings = model_findings.graph_of(model, scale)
    warning = drawing.draw(graph, output, imgsz=imgsz, titled=not no_title, force=force)
    print(f"Written: {output} ({graph.file}{f', scale {graph.scale}' if graph.scale else ''})")
    for line in filter(None, [warning, *warnings]):
        print(f"warning: {line}", file=sys.stderr)
    return 0
