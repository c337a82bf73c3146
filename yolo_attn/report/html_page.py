"""``report.html``: one file without scripts or anything to fetch, so that it opens offline and runs nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from ..experiment.folder_contents import Experiment
from ..experiment.plan import stem
from ..metrics.tide_errors import KINDS
from . import training_curves as training
from .charts import pareto_plot as plane
from .charts import variant_charts
from .charts.forest_plot import forest
from .how_to_read import READING
from .image_differences import SAME, SURE, differing
from .image_panels import panels
from .number_format import counted, listed
from .tables import SIZES, Table, all_tables, effect, label

WIDE, NARROW = 860.0, 380.0
CLASSES = 10  # drawn for each model
FOREST = ("AP", "AP50")
SIGNS = {"better": "▲", "worse": "▼"}
CURVES = (
    (training.ACCURACY, "mAP50-95 on val, per cent", 100.0),
    (training.LOSS, "Loss on val (box, class and distance)", 1.0),
)


def page(experiment: Experiment, results: Mapping[str, Any]) -> str:
    """Return the page.

    Args:
        experiment: What the folder holds; its images are embedded where they are found.
        results: What is known and what it means.
    """
    folder = Path(__file__).parent
    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    models = results["models"]
    with_effect = [model for model in models if model["effect"]]
    base = next((model for model in models if model["role"] == "baseline"), None)
    tables = all_tables(results)
    parts: dict[str, Any] = {
        "verdicts": [_verdict(model) for model in with_effect],
        "forest": _forest(with_effect),
        "pareto": _pareto(models),
        "curves": _curves(base, models),
        "changes": _changes(with_effect),
        "errors": _errors(base, models),
        "images": _images(experiment, results),
    }
    text: str = environment.get_template("page.html.jinja").render(
        css=Markup((folder / "page.css").read_text(encoding="utf-8")),
        heading=_heading(results),
        subtitle=_subtitle(results),
        results=results,
        tables={name: tables.get(name) for name in NAMES},
        sections=_sections(parts) if tables.get("accuracy") else [],
        reading=READING,
        **parts,
    )
    return text


NAMES = ("accuracy", "cost", "effects", "sizes", "classes", "errors", "curves", "runs", "missing", "weights", "data",
         "recipe", "arguments", "versions", "hardware")  # fmt: skip


def _heading(results: Mapping[str, Any]) -> str:
    plan = results["plan"]
    variants = [stem(model) for model in plan["models"]]
    return f"{stem(plan['base'])} against {listed(variants, 4)} on {stem(plan['data'])}".replace("against  on", "on")


def _subtitle(results: Mapping[str, Any]) -> str:
    plan, data = results["plan"], results["data"]
    words = [counted(len(plan["seeds"]), "seed"), counted(plan["epochs"], "epoch")]
    if data:
        words.append(f"{data['split']} split of {counted(data['images'], 'image')}")
    return ", ".join([*words, counted(len(results["runs"]), "finished run")])


def _sections(parts: Mapping[str, Any]) -> list[tuple[str, str]]:
    found = [
        ("result", "Result", True),
        ("differences", "Differences", parts["forest"]),
        ("cost", "Latency", True),
        ("training", "Training", parts["curves"]),
        ("classes", "Size and class", parts["changes"]),
        ("errors", "Errors", parts["errors"]),
        ("images", "Images", True),
        ("made", "How it was made", True),
        ("reading", "How to read it", True),
    ]
    return [(name, text) for name, text, there in found if there]


def _verdict(model: Mapping[str, Any]) -> dict[str, str]:
    verdict = model["effect"]["verdict"]
    word = str(verdict["word"])
    style = word if word in SIGNS else "open"
    sign = SIGNS.get(word, "○")
    return {"title": label(model), "word": word, "text": verdict["text"], "style": style, "sign": sign,
            "note": model["note"]}  # fmt: skip


def _svg(text: str) -> Markup:
    """Return a drawing as it is: what is written in it was escaped when it was made."""
    return Markup(text)


def _forest(models: Sequence[Mapping[str, Any]]) -> dict[str, Markup] | None:
    shown = [model for model in models if effect(model, "AP")]
    if not shown:
        return None
    return {
        "wide": _svg(forest(shown, FOREST, WIDE, "forest-wide").inline()),
        "narrow": _svg(forest(shown, FOREST, NARROW, "forest-narrow").inline()),
    }


def _pareto(models: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    found = plane.placed(models, "AP")
    if not found:
        return None
    head = ["model", "latency (ms)", "AP", "on the front"]
    return {
        "wide": _svg(plane.pareto(found, "AP", WIDE, "pareto-wide").inline()),
        "narrow": _svg(plane.pareto(found, "AP", NARROW, "pareto-narrow").inline()),
        "table": Table("AP and latency", head, plane.table(found)),
    }


def _curves(base: Mapping[str, Any] | None, models: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[Markup]]]:
    if base is None:
        return []
    others: Sequence[Mapping[str, Any] | None] = [model for model in models if model is not base] or [None]
    found = []
    for column, text, factor in CURVES:
        charts = [
            variant_charts.curve(base, model, column, text, f"curve-{column.split('/')[0]}-{number}", factor)
            for number, model in enumerate(others)
        ]
        drawn = [_svg(chart.inline()) for chart in charts if chart is not None]
        if drawn:
            found.append((text, drawn))
    return found


def _changes(models: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    charts = []
    most = shown = 0
    for number, model in enumerate(models):
        sizes = [(f"AP {text}", effect(model, name)) for name, text in SIZES.items()]
        classes = [(name[3:-1], found) for name, found in model["effect"]["metrics"].items() if name.startswith("AP[")]
        most = max(most, len(classes))
        if len(classes) > CLASSES:
            classes = sorted(classes, key=lambda item: -abs(item[1]["seeds"]["mean"]))[:CLASSES]
        shown = max(shown, len(classes))
        rows = [(name, found) for name, found in (*sizes, *classes) if found]
        if rows:
            charts.append(_svg(variant_charts.changes(model, rows, f"changes-{number}").inline()))
    return {"charts": charts, "hidden": most > shown, "classes": most, "shown": shown} if charts else None


def _errors(base: Mapping[str, Any] | None, models: Sequence[Mapping[str, Any]]) -> list[Markup]:
    known = [model for model in models if model["error_kinds"]]
    if base is None or base not in known:
        return []
    most = max(model["error_kinds"]["dap"][kind] for model in known for kind in KINDS)
    shown = [model for model in known if model is not base] or [base]
    return [
        _svg(variant_charts.errors(base, model, KINDS, f"errors-{number}", most).inline())
        for number, model in enumerate(shown)
    ]


def _images(experiment: Experiment, results: Mapping[str, Any]) -> dict[str, Any]:
    """Return the images with their captions, or why there are none."""
    if experiment.truth is None:
        return {"shown": [], "text": "The folder has no ground_truth.json, so there are none to show."}
    found = differing(experiment, results)
    if not found:
        return {"shown": [], "text": f"There is none: no variant differs in its mistakes at a score of {SURE} or more."}
    root = experiment.plan.folder / experiment.truth.info.image_folder
    base = next(model["title"] for model in results["models"] if model["role"] == "baseline")
    shown, absent = [], []
    for number, item in enumerate(found, start=1):
        drawn = panels(item, root, base, number)
        name = str(item.image["file_name"])
        if drawn is None:
            absent.append(name)
            continue
        fewer = item.base.mistakes - item.other.mistakes
        change = (
            f"{counted(abs(fewer), 'mistake')} {'fewer' if fewer > 0 else 'more'} than the baseline, seed {item.seed}"
        )
        pictures = [{"heading": panel.heading, "words": panel.words, "svg": _svg(panel.svg)} for panel in drawn]
        shown.append({"title": name, "text": f"{item.variant}: {change}.", "panels": pictures})
    better = sum(item.other.mistakes < item.base.mistakes for item in found)
    text = (
        f"The {counted(len(found), 'image')} with the largest difference in mistakes between the baseline and a "
        f"variant: in {better} the variant makes fewer, in {len(found) - better} more. They are extremes, chosen by "
        f"their difference, and no sample. A mistake is a box with a score of {SURE} or more that has no object of its "
        f"class (IoU {SAME}) to itself, or an object without a box."
    )
    if absent:
        text += f" Not found in {root}, so not shown: {listed(absent, 3)}."
    return {"shown": shown, "text": text}
