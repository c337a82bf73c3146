"""``yolo-attn diagram``: a model drawn as its graph."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from .. import atomic_files, install
from ..errors import ArgumentError
from . import model_words

USAGE = "yolo-attn diagram yolo11n-ema.yaml -o yolo11n-ema.svg"
HELP = f"""\
yolo-attn diagram: a model drawn as its graph, attention highlighted

usage: yolo-attn diagram MODEL -o OUT [--scale LETTER] [--imgsz 640] [--force]

  MODEL             a model YAML: a path, or a name that Ultralytics or this project ships
  -o OUT            the file to write: .svg, .png, .pdf, .dot (Graphviz) or .mmd (Mermaid)
  --scale LETTER    the scale to draw; by default that of the name's letter, else the smallest
  --imgsz PIXELS    side of the image, for the sizes of the maps
  --force           write over a file that exists

examples:
  {USAGE}
  yolo-attn diagram yolo26-afpn.yaml -o afpn.png --scale m --imgsz 1280
"""


def run(given: Sequence[str]) -> int:
    """Draw the model, and print what was written."""
    if not given or given[0] in ("-h", "--help", "help"):
        print(HELP, end="")
        return 0
    install()
    known = ["output", "scale", "imgsz", "force"]
    model, pairs = model_words.parse(given, known, flags=["force"], usage=USAGE)
    if "output" not in pairs:
        raise ArgumentError(f"where to? write e.g. {USAGE}")
    imgsz = pairs.get("imgsz", "640")
    if not imgsz.isdecimal() or not int(imgsz):
        raise ArgumentError(f"imgsz={imgsz!r} must be a number of pixels, e.g. 640")
    from ..integration.queries import model_graph as graphs
    from ..model_yaml.diagram import drawing

    force = pairs.get("force") == "True"
    atomic_files.check(pairs["output"], drawing.SUFFIXES, force=force)  # before the model is built
    graph = graphs.build(graphs.load(model), pairs.get("scale", ""))
    warning = drawing.draw(graph, pairs["output"], imgsz=int(imgsz), force=force)
    print(f"Written: {pairs['output']} ({graph.file}{f', scale {graph.scale}' if graph.scale else ''})")
    if warning:
        print(f"warning: {warning}", file=sys.stderr)
    return 0
