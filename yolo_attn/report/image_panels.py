"""Draw images with boxes for the page: a small JPEG, embedded once, below boxes in SVG."""

from __future__ import annotations

import base64
import io
import os
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..messages import counted
from .charts.svg import clean, shortened, width_of
from .image_comparison import Box, ImageDifference, Judgement

WIDTH = 420  # px, of the longer side of the embedded image
QUALITY = 72
LABEL = 9.0  # px, size of a label
MOST_LABELS = 8  # of a picture; with more errors only their signs, and the rest as a tooltip
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
    file = image_file(root, found.image["file_name"])
    source = thumbnail(file, size) if file else None
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


def is_image_folder(root: Path, experiment: Path) -> bool:
    """Return whether images may be read from ``root``, which a file of the experiment names.

    A folder that contains the experiment, the working folder or the home folder is no data set: a stranger's experiment
    could show any picture of this machine with it.
    """
    private = (experiment, Path.cwd(), Path.home())
    return not any(root.resolve() in folder.resolve().parents for folder in private)


def image_file(root: Path, name: str) -> Path | None:
    """Return the regular file ``name`` below ``root``; None if there is none, or it leads elsewhere."""
    try:
        file = Path(os.path.normpath(root / name))
        inside = file.resolve().is_relative_to(root.resolve())
        return file if file.is_relative_to(root) and inside and file.is_file() else None
    except (OSError, ValueError):  # a name that cannot be one
        return None


def thumbnail(path: Path, size: tuple[int, int]) -> str | None:
    """Return an image as a small JPEG in a data URL; None if it cannot be read or has another size."""
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as opened:
            upright = ImageOps.exif_transpose(opened) or opened
            if size not in (opened.size, upright.size):
                return None
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
    signs = sum(box.state in SIGNS for box in boxes)
    for box in boxes:
        x, y, w, h = (scale * value for value in box.xywh)
        score = "" if box.score is None else f" {box.score:.2f}"
        place = {"x": f"{x:.1f}", "y": f"{y:.1f}", "width": f"{max(w, 1):.1f}", "height": f"{max(h, 1):.1f}"}
        ET.SubElement(root, "rect", {"class": "halo", **place})
        drawn = ET.SubElement(root, "rect", {"class": box.state, **place})
        ET.SubElement(drawn, "title").text = clean(f"{box.state}: {box.name}{score}")
        if box.state in SIGNS:  # beside the box, so that the object stays visible; in full where there are few
            full = clean(f"{SIGNS[box.state]} {shortened(box.name, 90, LABEL)}{score}")
            text = SIGNS[box.state] if signs > MOST_LABELS else full
            above, below = y - 3, y + h + LABEL
            y = above if above > LABEL else below if below < height else max(y, 0) + LABEL + 2
            x = max(min(x, width - 1.25 * width_of(text, LABEL)), 0.0)
            label = ET.Element("text", {"x": f"{x:.1f}", "y": f"{y:.1f}"})
            label.text = text
            labels.append(label)
    root.extend(labels)  # above all rectangles
    return ET.tostring(root, encoding="unicode")
