"""A model's drawing with matplotlib, by the project's own layout. Matplotlib comes with Ultralytics."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...integration.queries.model_graph import level
from . import graph_layout as geometry
from .style import COLOURS, LEGEND, Style, caption, is_attention, parts_in, size, style, title, wording

if TYPE_CHECKING:
    from ...integration.queries.model_graph import Graph

FONT = ["DejaVu Sans", "sans-serif"]
_HEAD, _CAPTION, _FOOT = 0.85, 0.17, 0.6  # inches above the rows, for each line of the caption, below the rows
_CHARACTER = 0.083  # width of a letter of a box's first line
_SMALL = 0.062


def figure(graph: Graph, imgsz: int) -> Any:
    """Return the drawing as a matplotlib figure."""
    from matplotlib.figure import Figure

    texts = [wording(layer) for layer in graph.layers]
    widths = [max(1.1, 0.2 + _CHARACTER * len(a), 0.2 + _SMALL * len(b)) for a, b in texts]
    labels = [_SMALL * len(size(layer, imgsz)) for layer in graph.layers]
    layout = geometry.lay_out(graph, widths, labels)
    width = max(layout.width, 5.2, 0.14 * len(title(graph)) + 0.3)
    below_title = textwrap.wrap(caption(graph), int(width / 0.082))
    head = _HEAD + _CAPTION * len(below_title)
    made = Figure(figsize=(width, head + layout.height + _FOOT))
    axes = made.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, width)
    axes.set_ylim(layout.height + _FOOT, -head)
    axes.set_axis_off()
    _bands(axes, layout, width, imgsz)
    for line in layout.lines:
        _line(axes, line, is_attention(graph.layers[line.source]))
    for layer, text in zip(graph.layers, texts, strict=True):
        _box(axes, layout.boxes[layer.index], style(layer, graph), text)
    _image(axes, layout.boxes[0], imgsz)
    for label in layout.labels:
        axes.text(
            label.x, label.y, size(graph.layers[label.source], imgsz), fontsize=6.2, va="center", ha="left",
            color=COLOURS["text"], zorder=5, family=FONT,
            bbox={"boxstyle": "square,pad=0.08", "facecolor": "white", "edgecolor": "none", "alpha": 0.75},
        )  # fmt: skip
    axes.text(0.12, 0.24 - head, title(graph), fontsize=12, weight="bold", va="center", family=FONT)
    axes.text(0.12, 0.4 - head, "\n".join(below_title), fontsize=8, va="top", family=FONT)
    _legend(axes, graph, width)
    return made


def save(made: Any, path: Path, suffix: str) -> None:
    """Write the figure; the same model gives the same file."""
    from matplotlib import rc_context

    metadata = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}[suffix]
    with rc_context({"svg.hashsalt": "yolo-attn", "svg.fonttype": "none", "pdf.fonttype": 42}):
        made.savefig(path, format=suffix, dpi=160, metadata=metadata)


def _bands(axes: Any, layout: geometry.Layout, width: float, imgsz: int) -> None:
    from matplotlib.patches import Rectangle

    for k, band in enumerate(layout.bands):
        shade = COLOURS["band"] if k % 2 else "white"
        axes.add_patch(Rectangle((0, band.top), width, band.bottom - band.top, facecolor=shade, zorder=0))
        y = (band.top + band.bottom) / 2
        side = round(imgsz / band.stride)
        axes.text(0.12, y, level(band.stride), fontsize=11, weight="bold", va="center", family=FONT)
        axes.text(0.5, y, f"stride {band.stride:g}\n{side}x{side}", fontsize=7, va="center", family=FONT)


def _line(axes: Any, line: geometry.Line, attended: bool) -> None:
    from matplotlib.patches import FancyArrowPatch, PathPatch
    from matplotlib.path import Path as Corners

    look: dict[str, Any] = {
        "edgecolor": COLOURS["attention"] if attended else COLOURS["line"],
        "linewidth": 1.9 if attended else 1.0,
    }
    order = 3 if attended else 2
    if len(line.points) > 2:
        shaft = PathPatch(Corners(line.points[:-1]), facecolor="none", zorder=order, joinstyle="round", **look)
        axes.add_patch(shaft)
    tip = FancyArrowPatch(
        line.points[-2], line.points[-1], arrowstyle="-|>,head_length=3.4,head_width=1.7", shrinkA=0, shrinkB=0,
        facecolor=look["edgecolor"], zorder=order, joinstyle="miter", **look,
    )  # fmt: skip
    tip.set_gid(f"edge-{line.source}-{line.target}")
    axes.add_patch(tip)


def _box(axes: Any, box: geometry.Box, look: Style, text: tuple[str, str]) -> None:
    from matplotlib.patches import FancyBboxPatch

    patch = FancyBboxPatch(
        (box.x, box.y - box.height / 2), box.width, box.height, boxstyle="round,pad=0,rounding_size=0.06",
        facecolor=look.fill, edgecolor=look.border, linewidth=look.border_width, zorder=4,
    )  # fmt: skip
    patch.set_gid(f"layer-{box.layer.index}")
    axes.add_patch(patch)
    first, second = text
    x, up = box.x + box.width / 2, 0.075 if second else 0
    common = {"ha": "center", "va": "center", "zorder": 6, "family": FONT, "color": COLOURS["text"]}
    axes.text(x, box.y - up, first, fontsize=8, weight="bold" if look.border_width > 1.5 else "normal", **common)
    if second:
        axes.text(x, box.y + 0.095, second, fontsize=6, **common)


def _image(axes: Any, first: geometry.Box, imgsz: int) -> None:
    """Draw what layer 0 reads."""
    from matplotlib.patches import FancyArrowPatch

    x, top = first.x + first.width / 2, first.y - first.height / 2
    arrow = FancyArrowPatch(
        (x, -0.17), (x, top), arrowstyle="-|>,head_length=3.4,head_width=1.7", shrinkA=0, shrinkB=0,
        facecolor=COLOURS["line"], edgecolor=COLOURS["line"], linewidth=1.0, zorder=2,
    )  # fmt: skip
    arrow.set_gid("edge-image-0")
    axes.add_patch(arrow)
    axes.text(x, -0.25, f"image 3x{imgsz}x{imgsz}", fontsize=7, ha="center", va="center", family=FONT)


def _legend(axes: Any, graph: Graph, width: float) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = [
        Patch(facecolor=COLOURS[part], edgecolor=COLOURS["border"], label=part) for part in parts_in(graph)
    ]
    if any(map(is_attention, graph.layers)):
        handles.append(
            Patch(
                facecolor=COLOURS["attended"],
                edgecolor=COLOURS["attention"],
                linewidth=2.6,
                label=LEGEND["attention"],
            )
        )
        handles.append(Line2D([], [], color=COLOURS["attention"], linewidth=1.9, label=LEGEND["output"]))
    handles.append(Line2D([], [], color=COLOURS["line"], linewidth=1.0, label=LEGEND["line"]))
    columns = len(handles) if width > 7.4 or len(handles) < 5 else 3
    axes.legend(
        handles=handles, loc="lower left", bbox_to_anchor=(0.0, 0.0), ncols=columns,
        frameon=False, prop={"family": FONT, "size": 7.5},
    )  # fmt: skip
