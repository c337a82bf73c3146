"""Draw a model with Matplotlib, which comes with Ultralytics."""

from __future__ import annotations

import logging
import textwrap
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, fontManager
from matplotlib.ft2font import FT2Font
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Patch, PathPatch, Rectangle
from matplotlib.path import Path as Corners

from ...integration.queries.layer_text import size
from ...integration.queries.model_graph import Graph, level
from ...log_level import at_log_level
from . import graph_layout as geometry
from .style import COLOURS, Style, box_style, box_text, caption, is_attention, parts_in, title

FONT = "DejaVu Sans"  # comes with Matplotlib
_HEAD, _CAPTION, _FOOT = 0.85, 0.17, 0.6  # inches above the rows, for each line of the caption, below the rows
_HEAD_UNTITLED = 0.4  # room for the image's line alone
_WIDE = 0x2E80  # characters from here on are as wide as they are high: Chinese, Japanese, Korean
_CHARACTER, _SMALL_CHARACTER = 0.083, 0.062  # inches
_SQUARE_CORNERS: dict[str, Any] = {"shrinkA": 0, "shrinkB": 0, "joinstyle": "miter"}


def drawn(graph: Graph, imgsz: int, *, titled: bool = True) -> tuple[Figure, str]:
    """Return the drawing, and the characters that no installed font has."""
    texts = [box_text(layer) for layer in graph.layers]
    heading = title(graph) if titled else ""
    families, missing = _families("".join([heading, *(line for pair in texts for line in pair)]))
    widths = [
        max(1.1, 0.2 + _CHARACTER * len(first), *(0.2 + _SMALL_CHARACTER * len(line) for line in rest))
        for first, *rest in texts
    ]
    labels = [_SMALL_CHARACTER * len(size(layer, imgsz)) for layer in graph.layers]
    layout = geometry.lay_out(graph, widths, labels)
    width = max(layout.width, 5.2, sum(0.18 if ord(c) > _WIDE else 0.14 for c in heading) + 0.3)
    below_title = textwrap.wrap(caption(graph), int(width / 0.082)) if titled else []
    head = _HEAD + _CAPTION * len(below_title) if titled else _HEAD_UNTITLED
    with rc_context({"font.family": families}):
        figure = Figure(figsize=(width, head + layout.height + _FOOT))
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_xlim(0, width)
        axes.set_ylim(layout.height + _FOOT, -head)
        axes.set_axis_off()
        _bands(axes, layout, width, imgsz)
        for line in layout.lines:
            _line(axes, line, is_attention(graph.layers[line.source]))
        for layer, text in zip(graph.layers, texts, strict=True):
            _box(axes, layout.boxes[layer.index], box_style(layer, graph), text)
        _image(axes, layout.boxes[0], imgsz)
        for label in layout.labels:
            axes.text(
                label.x, label.y, size(graph.layers[label.source], imgsz), fontsize=6.2, va="center", ha="left",
                color=COLOURS["text"], zorder=5,
                bbox={"boxstyle": "square,pad=0.08", "facecolor": "white", "edgecolor": "none", "alpha": 0.75},
            )  # fmt: skip
        axes.text(0.12, 0.24 - head, heading, fontsize=12, weight="bold", va="center")
        axes.text(0.12, 0.4 - head, "\n".join(below_title), fontsize=8, va="top")
        _legend(axes, graph, width)
    return figure, missing


def save(figure: Figure, path: Path | IO[bytes], suffix: str) -> None:
    """Write the drawing. The same model gives the same file."""
    metadata = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}[suffix]
    with _quiet(), rc_context({"svg.hashsalt": "yolo-attn", "svg.fonttype": "none", "pdf.fonttype": 42}):
        figure.savefig(path, format=suffix, dpi=160, metadata=metadata)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence Matplotlib's messages about missing characters and font weights; draw() reports what matters."""
    with at_log_level(logging.getLogger("matplotlib.font_manager"), logging.ERROR), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")
        yield


@_quiet()
def _families(text: str) -> tuple[list[str], str]:
    """Return font families that together have the characters of a text, and the characters that none of them has."""

    def without(family: str, characters: Sequence[str]) -> list[str]:
        font = FT2Font(findfont(FontProperties(family=family)))
        return [c for c in characters if not font.get_char_index(ord(c))]

    families, missing = [FONT], without(FONT, sorted(set(text)))
    # Matplotlib's own "Last Resort" fonts have a box for every character.
    others = sorted({font.name for font in fontManager.ttflist if "Last Resort" not in font.name} if missing else ())
    while missing and others:
        left = {name: without(name, missing) for name in others}
        best = min(left, key=lambda name: len(left[name]))
        if len(left[best]) == len(missing):
            break
        families, missing = [*families, best], left[best]
    return [*families, "sans-serif"], "".join(missing)


def _bands(axes: Axes, layout: geometry.Layout, width: float, imgsz: int) -> None:
    for k, band in enumerate(layout.bands):
        shade = COLOURS["band"] if k % 2 else "white"
        axes.add_patch(Rectangle((0, band.top), width, band.bottom - band.top, facecolor=shade, zorder=0))
        y = (band.top + band.bottom) / 2
        side = round(imgsz / band.stride)
        axes.text(0.12, y, level(band.stride), fontsize=11, weight="bold", va="center")
        axes.text(0.5, y, f"stride {band.stride:g}\n{side}x{side}", fontsize=7, va="center")


def _line(axes: Axes, line: geometry.Line, attended: bool) -> None:
    colour, width, order = (COLOURS["attention"], 1.9, 3) if attended else (COLOURS["line"], 1.0, 2)
    if len(line.points) > 2:
        shaft = Corners(line.points[:-1])
        look: dict[str, Any] = {"edgecolor": colour, "linewidth": width, "zorder": order}
        axes.add_patch(PathPatch(shaft, facecolor="none", joinstyle="round", **look))
    _arrow(axes, line.points[-2:], f"edge-{line.source}-{line.target}", colour, width, order)


def _arrow(axes: Axes, ends: Sequence[tuple[float, float]], name: str, colour: str, width: float, order: int) -> None:
    tip = FancyArrowPatch(
        ends[0], ends[1], arrowstyle="-|>,head_length=3.4,head_width=1.7", facecolor=colour, edgecolor=colour,
        linewidth=width, zorder=order, **_SQUARE_CORNERS,
    )  # fmt: skip
    tip.set_gid(name)
    axes.add_patch(tip)


def _box(axes: Axes, box: geometry.Box, look: Style, text: Sequence[str]) -> None:
    patch = FancyBboxPatch(
        (box.x, box.y - box.height / 2), box.width, box.height, boxstyle="round,pad=0,rounding_size=0.06",
        facecolor=look.fill, edgecolor=look.border, linewidth=look.border_width, zorder=4,
    )  # fmt: skip
    patch.set_gid(f"layer-{box.layer.index}")
    axes.add_patch(patch)
    first, *rest = text
    x, up = box.x + box.width / 2, (0, 0.075, 0.1)[len(rest)]
    common: dict[str, Any] = {"ha": "center", "va": "center", "zorder": 6, "color": COLOURS["text"]}
    axes.text(x, box.y - up, first, fontsize=8, weight="bold" if look.border_width > 1.5 else "normal", **common)
    for k, line in enumerate(rest):
        axes.text(x, box.y - up + (0.17, 0.135)[len(rest) - 1] + 0.09 * k, line, fontsize=6, **common)


def _image(axes: Axes, first: geometry.Box, imgsz: int) -> None:
    """Draw the image as the input of layer 0."""
    x, top = first.x + first.width / 2, first.y - first.height / 2
    _arrow(axes, [(x, -0.17), (x, top)], "edge-image-0", COLOURS["line"], 1.0, 2)
    axes.text(x, -0.25, f"image 3x{imgsz}x{imgsz}", fontsize=7, ha="center", va="center")


def _legend(axes: Axes, graph: Graph, width: float) -> None:
    handles: list[Patch | Line2D] = [
        Patch(facecolor=COLOURS[part], edgecolor=COLOURS["border"], label=part) for part in parts_in(graph)
    ]
    if any(map(is_attention, graph.layers)):
        look: dict[str, Any] = {"facecolor": COLOURS["attended"], "edgecolor": COLOURS["attention"]}
        handles.append(Patch(linewidth=2.6, label="attention layer", **look))
        handles.append(Line2D([], [], color=COLOURS["attention"], linewidth=1.9, label="its output"))
    handles.append(Line2D([], [], color=COLOURS["line"], linewidth=1.0, label="channels x height x width"))
    if any(layer.args and not is_attention(layer) for layer in graph.layers):
        handles.append(Line2D([], [], linestyle="", label="[ ] arguments in the YAML"))
    columns = len(handles) if width > 7.4 or len(handles) < 5 else 3
    axes.legend(
        handles=handles, loc="lower left", bbox_to_anchor=(0.0, 0.0), ncols=columns, frameon=False, fontsize=7.5
    )
