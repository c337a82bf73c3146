"""``report.html``: one file without scripts and without anything to fetch, so it opens offline."""

from __future__ import annotations

import os
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ..experiment.folder_contents import Experiment
from ..experiment.plan import stem
from ..experiment.results import ModelResult, Results
from ..messages import counted, joined
from ..metrics import KINDS
from ..statistics import MetricEffect, VerdictWord
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
Picture = tuple[str, str, list[Panel]]  # title, text and panels of an image


def page(experiment: Experiment, results: Results) -> str:
    """Return the page. Images are embedded if they are found."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    compared = [model for model in results.models if model.change("AP")]
    timed = pareto_points(results.models, "AP")
    front = pareto_front(timed)
    rows = [
        [point.model.name, f"{point.latency.median:.2f}", points(point.mean / 100), "yes" if point in front else "no"]
        for point in timed
    ]
    charts = {
        "differences": [forest(compared, FOREST_METRICS, w, f"forest-{w:g}") for w in (WIDE, NARROW) if compared],
        "training": _curves(results),
        "classes": _changes(results),
        "errors": _errors(results),
    }
    pictures, pictures_text = _pictures(experiment, results)
    text: str = environment.get_template("page.html.jinja").render(
        heading=_heading(results),
        subtitle=_subtitle(results),
        results=results,
        tables=all_tables(results),
        sections={name: text for name, text in SECTIONS.items() if charts.get(name, True)} if results.models else {},
        charts=charts,
        classes=max((len(_class_changes(model)) for model in results.compared), default=0),
        most_classes=MOST_CLASSES,
        pareto=[pareto(timed, "AP", width, f"pareto-{width:g}") for width in (WIDE, NARROW) if timed],
        pareto_table=Table("AP and latency", ["model", "latency (ms)", "AP", "on the front"], rows),
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


def _curves(results: Results) -> dict[str, list[Drawing]]:
    """Return the charts of each of ``CURVES`` that has one, by its title."""
    base = results.baseline
    if base is None:
        return {}
    groups = [[base, model] for model in results.models if model is not base] or [[base]]
    found = {}
    for column, text, factor in CURVES:
        name = f"curve-{column.split('/')[0]}"
        charts = [curve_chart(group, column, text, f"{name}-{k}", factor) for k, group in enumerate(groups)]
        if any(charts):
            found[text] = [chart for chart in charts if chart]
    return found


def _class_changes(model: ModelResult) -> dict[str, MetricEffect]:
    return {name: found for metric, name in class_metrics([model]).items() if (found := model.change(metric))}


def _changes(results: Results) -> list[Drawing]:
    """Return the differences by size and class, at most ``MOST_CLASSES`` classes a model."""
    charts = []
    for number, model in enumerate(results.compared):
        rows = {text: found for metric, text in SIZES.items() if (found := model.change(metric))}
        classes = _class_changes(model)
        if len(classes) > MOST_CLASSES:
            classes = dict(sorted(classes.items(), key=lambda row: -abs(row[1].seeds.mean))[:MOST_CLASSES])
        rows |= classes
        if rows:
            charts.append(changes_chart(model, rows, f"changes-{number}"))
    return charts


def _errors(results: Results) -> list[Drawing]:
    base = results.baseline
    if base is None or base.errors is None:
        return []
    known = [model for model in results.models if model.errors]
    most = max(model.errors.dap[kind] for model in known if model.errors for kind in KINDS)
    others = [model for model in known if model is not base]
    if not others:
        return [errors_chart(base, None, "errors-0", most)]
    return [errors_chart(model, base, f"errors-{number}", most) for number, model in enumerate(others)]


def _pictures(experiment: Experiment, results: Results) -> tuple[list[Picture], str]:
    """Return the images, and the text above them."""
    base = results.baseline
    if experiment.truth is None or base is None:
        return [], "There are none to show: the folder has no ground_truth.json, or the baseline no finished run."
    found = largest_differences(experiment, results)
    if not found:
        return [], f"There are none: no variant differs in its errors at a score of {MIN_SCORE} or more."
    image_folder = experiment.truth.info.image_folder  # the page names it, and no path of this machine
    root = Path(os.path.normpath(experiment.plan.folder / image_folder))
    shown, absent = [], []
    for number, item in enumerate(found, start=1):
        name = item.image["file_name"]
        drawn = panels(item, root, base.name, number)
        if drawn is None:
            absent.append(name)
            continue
        fewer = item.base.errors - item.other.errors
        text = f"{counted(abs(fewer), 'error')} {'fewer' if fewer > 0 else 'more'} than the baseline, seed {item.seed}."
        shown.append((name, f"{item.variant}: {text}", drawn))
    better = sum(item.other.errors < item.base.errors for item in found)
    text = (
        f"The {counted(len(found), 'image')} with the largest difference in errors between the baseline and a variant: "
        f"the variant makes fewer in {better} and more in {len(found) - better}. They are extremes, not a random "
        f"sample. An error is a missed object or a wrong box: one with a score of {MIN_SCORE} or more that does not "
        f"match an object of its class (IoU {MIN_IOU}), or matches one that already has a box."
    )
    if absent:
        text += f" Not found in the image folder {image_folder}, so not shown: {joined(absent, most=3)}."
    return shown, text
