"""Draw charts in SVG, with a title, a description and the scales of the axes.

This is written here because Matplotlib's SVG has fixed colours, so that light, dark and print need a file each, repeats
its ids in every chart of a page, has no tooltips, and is three times as large. Here colours are the page's CSS
variables, text stays text for search and screen readers, and every mark has its numbers as a tooltip.
"""

from __future__ import annotations

import copy
import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass

LETTER = 0.56  # mean width of a letter in a sans-serif font, relative to its size
SIZE = 13.0  # px, of text
SMALL = 12.0  # px, of labels
# Control characters, and what else XML does not allow.
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")

# The rules of the page's style sheet for a drawing in its own file.
STANDALONE = """
svg { font-family: system-ui, sans-serif; background: #fff }
text { fill: #1f2328; font-size: 13px } .muted { fill: #59636e } .strong { font-weight: 600 } .small { font-size: 11px }
.axis { stroke: #d1d9e0 } .zero { stroke: #59636e; stroke-dasharray: 4 3 } .thick { stroke-width: 5 }
.base { stroke: #59636e; fill: #59636e } .variant { stroke: #0a58ca; fill: #0a58ca }
.better { stroke: #0a58ca; fill: #0a58ca } .worse { stroke: #b5420b; fill: #b5420b }
.control { stroke: #7a4fb5; fill: #7a4fb5 } .hollow { fill: #fff }
"""


class Drawing:
    """An SVG image of ``width`` x ``height`` px.

    The ids of its title and of its description, which is for screen readers, begin with ``name``.
    """

    def __init__(self, name: str, width: float, height: float, title: str, description: str) -> None:
        self.width, self.height = width, height
        box = f"0 0 {_number(width)} {_number(height)}"
        self.root = ET.Element("svg", {"viewBox": box, "role": "img", "class": "chart"})
        self.root.set("aria-labelledby", f"{name}-title {name}-desc")
        for tag, text in (("title", title), ("desc", description)):
            ET.SubElement(self.root, tag, {"id": f"{name}-{tag}"}).text = clean(text)

    def line(self, x1: float, y1: float, x2: float, y2: float, style: str, tip: str = "") -> None:
        self._add("line", style, tip, x1=x1, y1=y1, x2=x2, y2=y2)

    def text(self, x: float, y: float, text: str, style: str = "", *, anchor: str = "start", full: str = "") -> None:
        """Draw text; ``full`` becomes its tooltip if ``text`` is shortened."""
        element = self._add("text", style, "", x=x, y=y)
        element.text = clean(text)
        if anchor != "start":
            element.set("text-anchor", anchor)
        if full and full != text:
            ET.SubElement(element, "title").text = clean(full)

    def polyline(self, points: Sequence[tuple[float, float]], style: str, tip: str = "") -> None:
        self._add("polyline", f"open {style}", tip, points=_points(points))

    def polygon(self, points: Sequence[tuple[float, float]], style: str, tip: str = "") -> None:
        self._add("polygon", style, tip, points=_points(points))

    def rectangle(self, x: float, y: float, width: float, height: float, style: str, tip: str = "") -> None:
        self._add("rect", style, tip, x=x, y=y, width=max(width, 0.0), height=max(height, 0.0))

    def marker(self, x: float, y: float, shape: str, style: str, tip: str = "", *, size: float = 5.0) -> None:
        """Draw a ``circle``, ``square``, ``diamond`` or triangle (``up``, ``down``) around a point."""
        if shape == "circle":
            self._add("circle", style, tip, cx=x, cy=y, r=size)
            return
        corners = {
            "square": [(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)],
            "diamond": [(0, -1.25), (1.25, 0), (0, 1.25), (-1.25, 0)],
            "up": [(0, -1.2), (1.15, 0.9), (-1.15, 0.9)],
            "down": [(0, 1.2), (1.15, -0.9), (-1.15, -0.9)],
        }[shape]
        self.polygon([(x + size * dx, y + size * dy) for dx, dy in corners], style, tip)

    def x_axis(self, axis: Scale, top: float, bottom: float, most: int) -> None:
        """Draw at most ``most`` ticks with labels below ``bottom``, and grid lines from ``top``."""
        for value in axis.ticks(most):
            self.line(axis(value), top, axis(value), bottom, "axis")
            self.text(axis(value), bottom + 16, tick(value), "muted small", anchor="middle")

    def y_axis(self, axis: Scale, left: float, right: float, most: int) -> None:
        """Draw at most ``most`` ticks with labels before ``left``, and grid lines to ``right``."""
        for value in axis.ticks(most):
            self.line(left, axis(value), right, axis(value), "axis")
            self.text(left - 6, axis(value) + 4, tick(value), "muted small", anchor="end")

    def __html__(self) -> str:
        """Return the drawing for an HTML page; a template inserts it as it is."""
        return ET.tostring(self.root, encoding="unicode")

    def standalone(self) -> str:
        """Return the drawing as its own file, on a light background."""
        root = copy.deepcopy(self.root)
        size = {"width": _number(self.width), "height": _number(self.height)}
        root.attrib |= {"xmlns": "http://www.w3.org/2000/svg", **size}
        style = ET.Element("style")
        style.text = STANDALONE + "line, polyline { fill: none; stroke-width: 1.5 }\n"
        root.insert(2, style)
        return ET.tostring(root, encoding="unicode") + "\n"

    def _add(self, tag: str, style: str, tip: str, **attributes: float | str) -> ET.Element:
        texts = {key: value if isinstance(value, str) else _number(value) for key, value in attributes.items()}
        element = ET.SubElement(self.root, tag, {"class": style, **texts} if style else texts)
        if tip:
            ET.SubElement(element, "title").text = clean(tip)
        return element


@dataclass(frozen=True)
class Scale:
    """Maps ``low`` to ``high`` onto pixels ``start`` to ``end``."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self, most: int = 6) -> list[float]:
        """Return as many round values in the range as possible, at most ``most``, but at least two."""

        def multiples(step: float) -> range:
            return range(math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9) + 1)

        power = math.floor(math.log10((self.high - self.low) / most))
        steps = (factor * 10.0**exponent for exponent in (power, power + 1) for factor in (1, 2, 5))
        finer = found = next(steps)
        while len(multiples(found)) > most:
            finer, found = found, next(steps)
        step = found if len(multiples(found)) > 1 else finer
        return [index * step for index in multiples(step)]


def scale(values: Sequence[float], start: float, end: float, *, margin: float = 0.06, least: float = 0.2) -> Scale:
    """Return a scale that shows all values and is at least ``least`` wide."""
    low, high = min(values), max(values)
    room = max((high - low) * margin, (least - (high - low)) / 2, 1e-9)
    return Scale(low - room, high + room, start, end)


def tick(value: float) -> str:
    """Return the label of a tick."""
    return f"{value:.10g}" if abs(value) < 1e-12 or abs(value) >= 1e-4 else "0"


def clean(text: str) -> str:
    """Return ``text`` on one line, without control characters and what else XML does not allow."""
    return CONTROL.sub("\ufffd", " ".join(str(text).split()))


def shortened(text: str, width: float, size: float = SIZE) -> str:
    """Return ``text``, without its middle if it is wider than ``width`` px."""
    room = max(int(width / (LETTER * size)), 5)
    text = clean(text)
    if len(text) <= room:
        return text
    tail = (room - 1) // 2
    return f"{text[: room - 1 - tail]}…{text[-tail:]}"


def width_of(text: str, size: float = SIZE) -> float:
    """Return the approximate width of ``text`` in px."""
    return LETTER * size * len(text)


def _points(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{_number(x)},{_number(y)}" for x, y in points)


def _number(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")
