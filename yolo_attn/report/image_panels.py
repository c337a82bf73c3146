"""Draw images with boxes for the page: a small JPEG, embedded once, below boxes in SVG."""

from __future__ import annotations

import base64
import io
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..messages import counted
from .charts.svg import clean, shortened
from .most_different_images import Box, ImageDifference, Judgement

WIDTH = 420  # px, of the longer side of the embedded image
QUALITY = 72
SIGNS = {"wrong": "✕", "missed": "?"}


@dataclass(frozen=True)
class Panel:
    """One picture: its heading, a line of text about its boxes, and the SVG."""

    heading: str
    text: str
    svg: str


def panels(found: ImageDifference, root: Path, base: str, number: int) -> list[Panel] | None:
    """Return pictures of the ground truth, the baseline and the variant; None if the image cannot be opened.

    The images are in the folder ``root``; ``base`` is the baseline's name, ``number`` that of the image on the page.
    """
    size = found.image["width"], found.image["height"]
    source = thumbnail(root / found.image["file_name"])
    if source is None:
        return None
    picture = f"picture-{number}"
    parts = (
        ("ground truth", counted(len(found.objects), "object"), found.objects),
        (base, _text(found.base), found.base.boxes),
        (found.variant, _text(found.other), found.other.boxes),
    )
    return [
        Panel(heading, text, _draw(size, boxes, picture, None if index else source, f"{heading}: {text}"))
        for index, (heading, text, boxes) in enumerate(parts)
    ]


def thumbnail(path: Path) -> str | None:
    """Return an image as a small JPEG in a data URL; None if it cannot be read."""
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as opened:
            upright = ImageOps.exif_transpose(opened) or opened
            image = upright.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    image.thumbnail((WIDTH, WIDTH))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=QUALITY, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode('ascii')}"


def _text(found: Judgement) -> str:
    return f"{found.right} right, {found.wrong} wrong, {found.missed} missed"


def _draw(size: tuple[int, int], boxes: Sequence[Box], picture: str, source: str | None, text: str) -> str:
    scale = WIDTH / max(size)
    width, height = size[0] * scale, size[1] * scale
    root = ET.Element("svg", {"viewBox": f"0 0 {width:.1f} {height:.1f}", "role": "img", "class": "picture"})
    ET.SubElement(root, "title").text = clean(text)
    if source is not None:
        place = {"width": f"{width:.1f}", "height": f"{height:.1f}", "preserveAspectRatio": "none"}
        ET.SubElement(root, "image", {"id": picture, "href": source, **place})
    else:
        ET.SubElement(root, "use", {"href": f"#{picture}"})
    labels = []
    for box in boxes:
        x, y, w, h = (scale * value for value in box.xywh)
        score = "" if box.score is None else f" {box.score:.2f}"
        place = {"x": f"{x:.1f}", "y": f"{y:.1f}", "width": f"{max(w, 1):.1f}", "height": f"{max(h, 1):.1f}"}
        ET.SubElement(root, "rect", {"class": "halo", **place})
        drawn = ET.SubElement(root, "rect", {"class": box.state, **place})
        ET.SubElement(drawn, "title").text = clean(f"{box.state}: {box.name}{score}")
        if box.state in SIGNS:
            x, y = max(x, 0) + 2, min(max(y, 0) + 12, height - 3)
            label = ET.Element("text", {"x": f"{x:.1f}", "y": f"{y:.1f}"})
            label.text = clean(f"{SIGNS[box.state]} {shortened(box.name, 90, 11)}{score}")
            labels.append(label)
    root.extend(labels)  # above all rectangles
    return ET.tostring(root, encoding="unicode")
