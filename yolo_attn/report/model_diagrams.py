"""Draw the models of an experiment from their records, as parts of the page."""

from __future__ import annotations

import io
import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import UserError
from ..experiment.folder_contents import Experiment
from ..experiment.records import Record
from ..messages import joined

SVG, XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
IMGSZ = 640  # for the sizes, if the record's image size is not usable
MOST_LAYERS, MOST_NUMBER, MOST_FACTOR = 600, 10_000, 4  # in a model YAML that is built for a drawing
REFERENCE = re.compile(r"(url\(#|^#)")  # to an id, in an attribute
FONT = re.compile(r"font-family: [^;\"]*;? ?")


@dataclass(frozen=True)
class ModelDiagram:
    """A model's drawing.

    Attributes:
        name: The model.
        caption: Its layers and attention layers, in one line.
        svg: The drawing, for an HTML page.
    """

    name: str
    caption: str
    svg: str


def draw_variants(experiment: Experiment) -> tuple[list[ModelDiagram], str]:
    """Return a drawing of each variant with a finished run, and a text about those that cannot be drawn.

    It needs torch and Ultralytics, which build the layers; without them the text says so.
    """
    records = {
        model.name: record
        for model in experiment.plan.planned_models
        if model.role == "variant" and (record := next(iter(experiment.records[model.name].values()), None))
    }
    built = {name: record for name, record in records.items() if record.model_yaml}
    problems = [f"{name}: its record has no model YAML" for name in records if name not in built]
    drawn: list[ModelDiagram] = []
    try:
        for name, record in built.items():
            try:
                drawn.append(_diagram(name, record, f"model-{len(drawn)}"))
            except UserError as error:
                problems.append(f"{name}: {error}")
    except ImportError as error:
        return [], f"Not drawn: this needs torch and Ultralytics ({error})."
    return drawn, f"Not drawn: {joined(problems, '; ')}." if problems else ""


def _diagram(name: str, record: Record, prefix: str) -> ModelDiagram:
    from ..integration import install  # start-up time

    install()
    from ..integration.queries import model_graph, row_checks  # start-up time
    from ..integration.strict_mode import strict  # start-up time
    from ..model_yaml.diagram import drawing, matplotlib_figure, style  # start-up time

    content = record.model_yaml or {}
    row_checks.check_parts(content, record.model_file)
    _check_size(content)
    with strict():  # whatever the record says: an error of one line
        graph = model_graph.build(content, file=record.model_file)
    imgsz = record.arguments.get("imgsz")
    imgsz = imgsz if isinstance(imgsz, int) and drawing.fits(graph, imgsz) else IMGSZ
    figure, _ = matplotlib_figure.drawn(graph, imgsz, titled=False)
    file = io.BytesIO()
    matplotlib_figure.save(figure, file, "svg")
    return ModelDiagram(name, style.caption(graph), _inline(file.getvalue(), prefix, f"{name}: {style.caption(graph)}"))


def _check_size(content: Mapping[str, Any]) -> None:
    """Refuse a model that would take long to build, or fetch something: a record may be forged."""
    rows = [row for part in ("backbone", "head") if isinstance(content.get(part), list) for row in content[part]]
    if any(isinstance(row, list) and "TorchVision" in row for row in rows):
        raise UserError("TorchVision layers would fetch their weights")
    repeats = [row[1] for row in rows if isinstance(row, list) and len(row) > 1 and isinstance(row[1], int | float)]
    if len(rows) + sum(repeats) > MOST_LAYERS:
        raise UserError(
            f"it has {len(rows)} rows and {sum(repeats):g} repeats; together at most {MOST_LAYERS} are drawn"
        )
    factors = [content.get("depth_multiple"), content.get("width_multiple")]
    scales = content.get("scales")
    for scale in scales.values() if isinstance(scales, dict) else ():
        factors += scale[:2] if isinstance(scale, list) else []
    for numbers, most in ((_numbers(list(content.values())), MOST_NUMBER), (_numbers(factors), MOST_FACTOR)):
        if large := [number for number in numbers if not -most <= number <= most]:
            raise UserError(f"its model YAML has the number {large[0]:g}; up to {most} is drawn here")


def _numbers(value: Any) -> list[float]:
    """Return the numbers in a JSON value."""
    if isinstance(value, list | dict):
        return [number for each in (value.values() if isinstance(value, dict) else value) for number in _numbers(each)]
    return [value] if isinstance(value, int | float) else []


def _inline(svg: bytes, prefix: str, label: str) -> str:
    """Return Matplotlib's SVG without its style sheet, which would act on the whole page, and with ids of its own."""
    root = ET.fromstring(svg)
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (f"{{{SVG}}}metadata", f"{{{SVG}}}style"):
                parent.remove(child)
    for element in root.iter():
        element.tag = element.tag.removeprefix(f"{{{SVG}}}")
        for key, value in list(element.attrib.items()):
            if key == "id":
                element.set(key, f"{prefix}-{value}")
            elif key == "style":
                element.set(key, FONT.sub("", value))
            elif REFERENCE.search(value):
                element.set(key, REFERENCE.sub(rf"\g<1>{prefix}-", value))
            if key == f"{{{XLINK}}}href":
                element.set("href", element.attrib.pop(key))
    for size in ("width", "height"):
        root.attrib.pop(size, None)
    root.attrib |= {"class": "diagram", "role": "img", "aria-label": label}
    return ET.tostring(root, encoding="unicode")
