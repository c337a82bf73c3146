"""``report.html``: one file without scripts and without anything to fetch, so it opens offline."""

from __future__ import annotations

import os
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ..experiment.folder_contents import Experiment
from ..experiment.results import ModelResult, Results
from ..messages import counted, joined
from ..metrics import KINDS
from ..statistics import MetricEffect, VerdictWord
from .charts.forest_plot import forest
from .charts.pareto_plot import beaten_by, pareto, pareto_points
from .charts.svg import Drawing, clean
from .charts.variant_charts import changes_chart, curve_chart, ends_of, errors_chart
from .comparison_title import subtitle, title
from .how_to_read import TERMS
from .image_comparison import MIN_IOU, ImageComparison, ImageDifference, better_and_worse, compare_images
from .image_panels import Panel, is_image_folder, panels
from .model_diagrams import draw_variants
from .number_format import NONE, median_and_range, points
from .run_plots import plots_of_runs
from .tables import LONG, SIZES, Table, all_tables, class_metrics
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
    "plots": "PR curves",
    "images": "Images",
    "models": "Models",
    "made": "Settings",
    "reading": "How to read this report",
    "tables": "Tables",
}
LONG_TABLES = ("effects", "sizes", "classes", "errors", "curves", "runs", "arguments")  # at the end of the page
PAPER = (130, 175)  # characters of a table that fit A4: in the usual size, in a small one
Picture = tuple[str, str, list[Panel]]  # title, text and panels of an image


def page(experiment: Experiment, results: Results) -> str:
    """Return the page. Images are embedded if they are found."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: clean(value) if type(value) is str else value,  # a record's text may hold anything
    )
    compared = [model for model in results.models if model.change("AP")]
    timed = pareto_points(results.models, "AP")
    rows = [
        [
            point.model.name,
            f"{point.latency.median:.2f}" if point.model is results.baseline else median_and_range(point.latency, 2),
            points(point.mean / 100),
            joined(beaten_by(point, timed)) or NONE,
        ]
        for point in timed
    ]
    charts = {
        "differences": [forest(compared, FOREST_METRICS, w, f"forest-{w:g}") for w in (WIDE, NARROW) if compared],
        "training": _curves(results),
        "classes": _changes(results),
        "errors": _errors(results),
    }
    images = compare_images(experiment, results)
    pictures, pictures_text = _pictures(images, experiment, results)
    tables = all_tables(results)
    diagrams, not_drawn = draw_variants(experiment)
    charts["models"] = [*diagrams, *filter(None, [not_drawn])]
    text: str = environment.get_template("page.html.jinja").render(
        heading=title(experiment),
        subtitle=subtitle(results),
        results=results,
        tables=tables,
        sections={name: text for name, text in SECTIONS.items() if charts.get(name, True)} if results.models else {},
        charts=charts,
        classes=max((len(_class_changes(model)) for model in results.compared), default=0),
        most_classes=MOST_CLASSES,
        pareto=[pareto(timed, "AP", width, f"pareto-{width:g}") for width in (WIDE, NARROW) if timed],
        pareto_table=Table("AP and latency", ["model", "latency (ms)", "AP", "beaten by"], rows),
        pictures=pictures,
        pictures_text=pictures_text,
        images_table=_images_table(images),
        long_tables=[name for name in LONG_TABLES if name in tables],
        long=LONG,
        paper=PAPER,
        plots=plots_of_runs(experiment),
        diagrams=diagrams,
        not_drawn=not_drawn,
        signs=SIGNS,
        terms=TERMS,
    )
    return text


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
    shown = []
    for model in results.compared:
        rows = {text: found for metric, text in SIZES.items() if (found := model.change(metric))}
        classes = _class_changes(model)
        if len(classes) > MOST_CLASSES:
            classes = dict(sorted(classes.items(), key=lambda row: -abs(row[1].seeds.mean))[:MOST_CLASSES])
        rows |= classes
        if rows:
            shown.append((model, rows))
    ends = [end for _, rows in shown for end in ends_of(rows)]
    return [changes_chart(model, rows, f"changes-{number}", ends) for number, (model, rows) in enumerate(shown)]


def _errors(results: Results) -> list[Drawing]:
    base = results.baseline
    if base is None or base.errors is None:
        return []
    known = [model for model in results.models if model.errors]
    costs = (model.errors.dap[kind].values for model in known if model.errors for kind in KINDS)
    most = max(value or 0.0 for values in costs for value in values)
    others = [model for model in known if model is not base]
    if not others:
        return [errors_chart(base, None, "errors-0", most)]
    return [errors_chart(model, base, f"errors-{number}", most) for number, model in enumerate(others)]


def _images_table(images: ImageComparison) -> Table:
    base, total = images.errors[0] if images.errors else None, 0
    rows = []
    for found in images.errors:
        assert base is not None, "the first of them"
        total = found.counts.shape[1]
        cells = [f"{found.threshold:.2f}", points(found.f1), f"{found.counts.mean():.2f}"]
        if found is base:
            rows.append([found.model.name, *cells, "", "", ""])
        else:
            fewer, more = better_and_worse(found, base)
            rows.append([found.model.name, *cells, str(fewer), str(more), str(total - fewer - more)])
    head = ["model", "score", "F1", "errors per image", "fewer than the baseline in", "more in", "the same in"]
    return Table(f"Errors in the {counted(total, 'image')}, mean over the seeds", head, rows)


def _pictures(
    images: ImageComparison, experiment: Experiment, results: Results
) -> tuple[dict[str, list[Picture]], str]:
    """Return the images by heading, and the text above them."""
    base = results.baseline
    if experiment.truth is None or base is None or not images.errors:
        return {}, "There are none to show: the folder has no ground_truth.json, or no predictions."
    if not images.random:
        return {}, "There are none to show: no variant is compared."
    text = (
        "Baseline and variants image by image, each at the score with its own best F1 on these images, over all seeds. "
        "An error is a missed object or a wrong box: one that does not match an object of its class "
        f"(IoU {MIN_IOU}), or matches one that already has a box."
    )
    image_folder = experiment.truth.info.image_folder  # the page names it, and no path of this machine
    root = Path(os.path.normpath(experiment.plan.folder / image_folder))
    if not is_image_folder(root, experiment.plan.folder):
        return (
            {},
            f"{text} Not shown: {image_folder} holds this experiment or a home folder, so it is no data set's folder.",
        )
    shown: dict[str, list[Picture]] = {}
    absent = []
    groups = {
        "Largest differences: extremes, each with the variant that differs most": images.largest,
        "Drawn at random from all images, the variants in turn": images.random,
    }
    for heading, group in groups.items():
        for item in group:
            number = 1 + sum(map(len, shown.values()))
            drawn = panels(item, root, base.name, number)
            if drawn is None:
                absent.append(item.image["file_name"])
                continue
            shown.setdefault(heading, []).append((f"{number}. {item.image['file_name']}", _change_text(item), drawn))
    if absent:
        names = joined(dict.fromkeys(absent), most=3)
        text += f" Not shown, because {image_folder} has no such image of that size: {names}."
    return shown, text


def _change_text(found: ImageDifference) -> str:
    """Return how the errors differ, over the seeds and for each: the pictures show one of them."""
    change = found.change
    amount = f"{abs(change):.1f}".removesuffix(".0")
    seeds = joined(f"{each:+d}" if each else "0" for each in found.changes)
    what = f"{amount} {'fewer' if change < 0 else 'more'} {'error' if amount == '1' else 'errors'} than the baseline"
    over = f", mean of {len(found.seeds)} seeds ({seeds}); shown: seed" if len(found.seeds) > 1 else ", seed"
    return f"{found.variant}: {what if change else 'as many errors as the baseline'}{over} {found.shown}."
