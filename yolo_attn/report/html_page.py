"""``report.html``: one file without scripts and without anything to fetch, so it opens offline."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from ..experiment.folder_contents import Experiment
from ..experiment.plan import stem
from ..experiment.results import ModelResult, Results
from ..messages import counted, joined
from ..metrics import KINDS
from ..statistics import VerdictWord
from .charts.forest_plot import forest
from .charts.pareto_plot import pareto, pareto_front, pareto_points
from .charts.svg import Drawing
from .charts.variant_charts import changes_chart, curve_chart, errors_chart
from .how_to_read import TERMS
from .image_panels import Panel, panels
from .most_different_images import MIN_IOU, MIN_SCORE, largest_differences
from .number_format import points
from .tables import SIZES, Table, all_tables, class_metrics
from .training_curves import ACCURACY, LOSS

WIDE, NARROW = 860.0, 380.0  # px, widths of the larger charts
MOST_CLASSES = 10  # in the chart of a model
FOREST_METRICS = ("AP", "AP50")
SIGNS: dict[VerdictWord, str] = {"better": "▲", "worse": "▼"}
CURVES = (
    (ACCURACY, "mAP50-95 on val, per cent", 100.0),
    (LOSS, "Loss on val (box, class and distance)", 1.0),
)
SECTIONS = {
    "result": "Result",
    "differences": "Differences",
    "cost": "Latency",
    "training": "Training",
    "classes": "Size and class",
    "errors": "Errors",
    "images": "Images",
    "made": "Settings",
    "reading": "How to read this report",
}


@dataclass(frozen=True)
class Chart:
    """A chart at both widths of the page, and its table."""

    wide: Markup
    narrow: Markup
    table: Table | None = None


@dataclass(frozen=True)
class Changes:
    """The charts of differences by size and class, and how many classes each shows of how many."""

    charts: Sequence[Markup]
    shown: int
    classes: int


@dataclass(frozen=True)
class Picture:
    """An image with the boxes of the models."""

    title: str
    text: str
    panels: Sequence[Panel]


def page(experiment: Experiment, results: Results) -> str:
    """Return the page.

    Args:
        experiment: The contents of the folder; images are embedded if they are found.
        results: The results.
    """
    folder = Path(__file__).parent
    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    tables = all_tables(results)
    charts = {
        "differences": _forest(results),
        "training": _curves(results),
        "classes": _changes(results),
        "errors": _errors(results),
    }
    pictures, pictures_text = _pictures(experiment, results)
    text: str = environment.get_template("page.html.jinja").render(
        css=Markup((folder / "page.css").read_text(encoding="utf-8")),
        heading=_heading(results),
        subtitle=_subtitle(results),
        results=results,
        tables=tables,
        sections={name: text for name, text in SECTIONS.items() if charts.get(name, True)} if results.models else {},
        charts=charts,
        pareto=_pareto(results),
        pictures=pictures,
        pictures_text=pictures_text,
        signs=SIGNS,
        terms=TERMS,
    )
    return text


def _heading(results: Results) -> str:
    setup = results.setup
    variants = joined((stem(model) for model in setup.models), most=4)
    return f"{stem(setup.base)}{f' against {variants}' if variants else ''} on {stem(setup.data)}"


def _subtitle(results: Results) -> str:
    parts = [counted(len(results.setup.seeds), "seed"), counted(results.setup.epochs, "epoch")]
    if results.data:
        parts.append(f"{results.data.split} split of {counted(results.data.images, 'image')}")
    return joined([*parts, counted(len(results.runs), "finished run")])


def _svg(drawing: Drawing) -> Markup:
    """Return a drawing as it is: its text is escaped already."""
    return Markup(drawing.inline())


def _forest(results: Results) -> Chart | None:
    shown = [model for model in results.models if model.change("AP")]
    if not shown:
        return None
    wide, narrow = (_svg(forest(shown, FOREST_METRICS, width, f"forest-{width:g}")) for width in (WIDE, NARROW))
    return Chart(wide, narrow)


def _pareto(results: Results) -> Chart | None:
    found = pareto_points(results.models, "AP")
    if not found:
        return None
    front = pareto_front(found)
    rows = [
        [point.model.name, f"{point.latency.median:.2f}", points(point.mean / 100), "yes" if point in front else "no"]
        for point in found
    ]
    wide, narrow = (_svg(pareto(found, "AP", width, f"pareto-{width:g}")) for width in (WIDE, NARROW))
    return Chart(wide, narrow, Table("AP and latency", ["model", "latency (ms)", "AP", "on the front"], rows))


def _curves(results: Results) -> dict[str, list[Markup]]:
    base = results.baseline
    if base is None:
        return {}
    groups = [[base, model] for model in results.models if model is not base] or [[base]]
    found = {}
    for column, text, factor in CURVES:
        charts = [
            curve_chart(group, column, text, f"curve-{column.split('/')[0]}-{number}", factor)
            for number, group in enumerate(groups)
        ]
        found[text] = [_svg(chart) for chart in charts if chart is not None]
    return {text: charts for text, charts in found.items() if charts}


def _changes(results: Results) -> Changes | None:
    charts = []
    most = shown = 0
    for number, model in enumerate(results.compared):
        classes = {name: found for metric, name in class_metrics([model]).items() if (found := model.change(metric))}
        most = max(most, len(classes))
        if len(classes) > MOST_CLASSES:
            largest = sorted(classes, key=lambda name: -abs(classes[name].seeds.mean))[:MOST_CLASSES]
            classes = {name: classes[name] for name in largest}
        shown = max(shown, len(classes))
        rows = {text: found for metric, text in SIZES.items() if (found := model.change(metric))} | classes
        if rows:
            charts.append(_svg(changes_chart(model, rows, f"changes-{number}")))
    return Changes(charts, shown, most) if charts else None


def _errors(results: Results) -> list[Markup]:
    base = results.baseline
    if base is None or base.errors is None:
        return []
    known = [model for model in results.models if model.errors]
    most = max(model.errors.dap[kind] for model in known if model.errors for kind in KINDS)
    pairs: list[tuple[ModelResult, ModelResult | None]] = [(model, base) for model in known if model is not base]
    return [
        _svg(errors_chart(model, other, f"errors-{number}", most))
        for number, (model, other) in enumerate(pairs or [(base, None)])
    ]


def _pictures(experiment: Experiment, results: Results) -> tuple[list[Picture], str]:
    """Return the images, and the text above them."""
    base = results.baseline
    if experiment.truth is None or base is None:
        return [], "There are none to show: the folder has no ground_truth.json, or the baseline no finished run."
    found = largest_differences(experiment, results)
    if not found:
        return [], f"There are none: no variant differs in its errors at a score of {MIN_SCORE} or more."
    root = Path(os.path.normpath(experiment.plan.folder / experiment.truth.info.image_folder))
    shown, absent = [], []
    for number, item in enumerate(found, start=1):
        drawn = panels(item, root, base.name, number)
        if drawn is None:
            absent.append(item.image["file_name"])
            continue
        fewer = item.base.errors - item.other.errors
        text = f"{counted(abs(fewer), 'error')} {'fewer' if fewer > 0 else 'more'} than the baseline, seed {item.seed}."
        shown.append(Picture(item.image["file_name"], f"{item.variant}: {text}", drawn))
    better = sum(item.other.errors < item.base.errors for item in found)
    text = (
        f"The {counted(len(found), 'image')} with the largest difference in errors between the baseline and a variant: "
        f"the variant makes fewer in {better} and more in {len(found) - better}. They are extremes, not a random "
        f"sample. An error is a missed object or a wrong box: one with a score of {MIN_SCORE} or more that does not "
        f"match an object of its class (IoU {MIN_IOU}), or matches one that already has a box."
    )
    if absent:
        text += f" Not found in {root}, so not shown: {joined(absent, most=3)}."
    return shown, text
