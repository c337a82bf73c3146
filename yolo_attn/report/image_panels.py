"""Images with boxes for the page: a small JPEG, embedded once, and drawn boxes over it."""

from __future__ import annotations

import base64
import io
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .charts.svg import clean, shortened
from .image_differences import Box, Differing
from .number_format import counted

WIDTH = 420  # px of the embedded image, or of its height if that is more
QUALITY = 72


@dataclass(frozen=True)
class Panel:
    """One picture: its heading, what was found in words, and the SVG."""

    heading: str
    words: str
    svg: str


def panels(found: Differing, root: Path, base: str, number: int) -> list[Panel] | None:
    """Return ground truth, baseline and variant of one image; None if the image cannot be opened.

    Args:
        found: What is in the image.
        root: Folder of the images.
        base: Title of the baseline.
        number: Of the image, for ids.
    """
    size = (int(found.image["width"]), int(found.image["height"]))
    source = thumbnail(root / str(found.image["file_name"]))
    if source is None:
        return None
    picture = f"picture-{number}"
    parts = (
        ("ground truth", counted(len(found.objects), "object"), found.objects),
        (base, _words(found.base.right, found.base.wrong, found.base.missed), found.base.boxes),
        (found.variant, _words(found.other.right, found.other.wrong, found.other.missed), found.other.boxes),
    )
    return [
        Panel(heading, words, _draw(size, boxes, picture, source if index == 0 else None, f"{heading}: {words}"))
        for index, (heading, words, boxes) in enumerate(parts)
    ]


def thumbnail(path: Path) -> str | None:
    """Return an image as a small JPEG in a data URL, None if there is none that can be read."""
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


def _words(right: int, wrong: int, missed: int) -> str:
    return f"{right} right, {wrong} wrong, {missed} missed"


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
    for box in boxes:
        x, y, w, h = (scale * value for value in box.xywh)
        place = {"x": f"{x:.1f}", "y": f"{y:.1f}", "width": f"{max(w, 1):.1f}", "height": f"{max(h, 1):.1f}"}
        ET.SubElement(root, "rect", {"class": "halo", **place})
        drawn = ET.SubElement(root, "rect", {"class": box.state, **place})
        score = "" if box.score is None else f" {box.score:.2f}"
        ET.SubElement(drawn, "title").text = clean(f"{box.state}: {box.name}{score}")
    for box in boxes:  # above all rectangles
        if box.state not in ("wrong", "missed"):
            continue
        x, y = scale * box.xywh[0], scale * box.xywh[1]
        score = "" if box.score is None else f" {box.score:.2f}"
        sign = "✕ " if box.state == "wrong" else "? "
        label = ET.SubElement(
            root, "text", {"x": f"{max(x, 0) + 2:.1f}", "y": f"{min(max(y, 0) + 12, height - 3):.1f}"}
        )
        label.text = clean(f"{sign}{shortened(box.name, 90, 11)}{score}")
    return ET.tostring(root, encoding="unicode")
