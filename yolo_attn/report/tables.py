"""The tables of a report, as text: the page and Markdown show the same ones."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from msgspec import to_builtins

from ..experiment.results import CostRatios, ModelResult, Results, class_of
from ..messages import counted, joined
from ..metrics.tide_errors import KINDS, SPECIAL
from .number_format import (
    NONE,
    NOT_KNOWN,
    TIMES,
    amount,
    change,
    duration,
    interval,
    mean_and_sd,
    median_and_range,
    memory,
    points,
    probability,
    ratio,
    ratio_and_range,
    signed,
)
from .training_curves import ACCURACY, band

# metric -> heading; COCO's first, then Ultralytics' own
ACCURACIES = {
    "AP": "AP",
    "AP50": "AP50",
    "AP_small": "AP-S",
    "AP_medium": "AP-M",
    "AP_large": "AP-L",
    "mAP50": "mAP50",
    "mAP50-95": "mAP50-95",
}
LONG, FOLDED = 40, 28  # characters of a cell that is folded, and of its lines at least
_NUMBER = re.compile(rf"$|{NONE}$|{NOT_KNOWN}$|[-+<{TIMES}]?\d[\d,]*(\.\d+)?(?![\d.\w:-])")  # or begins so
SIZES = {"AP_small": "AP small", "AP_medium": "AP medium", "AP_large": "AP large"}


@dataclass(frozen=True)
class Table:
    """A table of text; the first cell of a row names it.

    Attributes:
        title: The caption.
        head: The headings.
        rows: The rows, each with a cell per heading.
        minor: Indices of rows that belong to the one above.
    """

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    minor: frozenset[int] = frozenset()

    @property
    def texts(self) -> frozenset[int]:
        """Indices of the columns that hold texts, not numbers: the first, and each with a cell that is no number."""
        columns = list(zip(*self.rows, strict=True))
        return frozenset({0, *(k for k, cells in enumerate(columns) if not all(map(_NUMBER.match, cells)))})

    @property
    def characters(self) -> int:
        """The width of the table in characters, where long texts are folded."""
        columns = zip(self.head, *self.rows, strict=True)
        return sum(2 + max(FOLDED if len(cell) > LONG else len(cell) for cell in cells) for cells in columns)


def all_tables(results: Results) -> dict[str, Table]:
    """Return every table that has a row, by name, in the order of the page."""
    models = results.models
    missing = [[run.run, run.reason or "not finished"] for run in results.missing]
    weights = {model.label: model.training.transfer for model in models if model.training.transfer}
    found = {
        "accuracy": accuracy_table(models),
        "cost": cost_table(models),
        "effects": effects_table(models),
        "sizes": _metrics_table("AP by object size", models, SIZES),
        "classes": _metrics_table("AP by class", models, class_metrics(models)),
        "errors": errors_table(models),
        "curves": curves_table(models),
        "runs": runs_table(results),
        "missing": Table("Missing runs", ["run", "reason"], missing),
        "weights": values_table("Pretrained weights", weights),
        "data": data_table(results),
        "given": values_table("Training arguments, as given", results.setup.arguments),
        "arguments": values_table("All training arguments, as completed by Ultralytics", results.arguments),
        "versions": values_table("Versions", results.versions),
        "hardware": values_table("Hardware of the training", to_builtins(results.hardware) or {}),
    }
    return {name: table for name, table in found.items() if table.rows}


def class_metrics(models: Sequence[ModelResult]) -> dict[str, str]:
    """Return the AP of each class: metric -> class."""
    metrics = (metric for model in models for metric in model.metrics)
    return {metric: name for metric in metrics if (name := class_of(metric)) is not None}


def accuracy_table(models: Sequence[ModelResult]) -> Table:
    """Return the metrics, baseline first; below each other model its difference to the baseline."""
    rows: list[list[str]] = []
    minor = set()
    for model in models:
        cells = [mean_and_sd(model.metric(name)) for name in ACCURACIES]
        rows.append([model.label, str(len(model.seeds)), *cells, ""])
        if model.effect:
            minor.add(len(rows))
            found = [model.change(name) for name in ACCURACIES]
            changes = [signed(item.seeds.mean) if item else NONE for item in found]
            rows.append(["difference", "", *changes, probability(model.effect.verdict.p_holm)])
            ends = [interval(item.interval) if item else NONE for item in found]
            if any(end != NONE for end in ends):
                minor.add(len(rows))
                rows.append(["95 % interval", "", *ends, ""])
    title = "Accuracy in per cent, mean ± standard deviation; differences in points with 95 % confidence intervals"
    return Table(title, ["model", "seeds", *ACCURACIES.values(), "p (Holm)"], rows, frozenset(minor))


def cost_table(models: Sequence[ModelResult]) -> Table:
    """Return the costs of each model; below each other model the difference to the baseline."""
    rows: list[list[str]] = []
    minor = set()
    for model in models:
        cost, training = model.cost, model.training
        measured = [NONE] * 4
        if cost:
            measured = [amount(cost.parameters, 1e6, 2), amount(cost.gflops)]
            measured += [median_and_range(cost.latency_ms, 2), median_and_range(cost.images_per_s, 1)]
        rows.append([model.label, *measured, duration(training.epoch_seconds), memory(training.memory)])
        if model.cost_ratios:
            minor.add(len(rows))
            differences, more = cost_differences(model.cost_ratios), more_latency(model, models[0])
            if cost and more is not None:
                differences[2] = f"{ratio_and_range(cost.latency_ratio)}, {signed(more)} ms"
            if cost and cost.throughput_ratio:
                differences[3] = ratio_and_range(cost.throughput_ratio)
            rows.append(["difference", *differences])
    head = ["model", "params (M)", "GFLOPs", "latency (ms)", "images/s", "epoch", "peak memory"]
    title = "Cost; latency and images/s in brackets: 10th to 90th percentile of the rounds"
    return Table(title, head, rows, frozenset(minor))


def cost_differences(found: CostRatios) -> list[str]:
    """Return the cells of the differences in cost, in the order of :func:`cost_table`."""
    values = (found.parameters, found.gflops, found.latency, found.throughput, found.epoch_seconds, found.memory)
    return [ratio(value) for value in values]


def more_latency(model: ModelResult, base: ModelResult) -> float | None:
    """Return the model's latency minus the baseline's in ms; None if one is not known."""
    mine, its = (each.cost.latency_ms if each.cost else None for each in (model, base))
    return mine.median - its.median if mine and its and model.cost_ratios else None


def effects_table(models: Sequence[ModelResult]) -> Table:
    """Return every difference but those by class: intervals by source, p values, and the difference of each seed."""
    rows = []
    for model in models:
        for name, found in model.effect.metrics.items() if model.effect else ():
            if class_of(name) is not None:
                continue
            seeds = found.seeds
            method = "" if seeds.method == "none" else f" ({seeds.method})"
            rows.append(
                [
                    model.label,
                    name,
                    str(seeds.n),
                    signed(seeds.mean),
                    amount(seeds.sd),
                    interval(seeds) + method,
                    interval(found.images),
                    interval(found.combined),
                    probability(seeds.p_t),
                    probability(seeds.p_permutation),
                    probability(seeds.p_smallest),
                    " ".join(signed(value) for value in seeds.values),
                ]
            )
    head = ["model", "metric", "seeds", "difference", "sd", "95 % over seeds", "95 % over images", "95 % over both",
            "p (t)", "p (permutation)", "smallest possible", "by seed"]  # fmt: skip
    return Table("Differences to the baseline, in points", head, rows)


def _metrics_table(title: str, models: Sequence[ModelResult], metrics: Mapping[str, str]) -> Table:
    """Return a row for each metric, and for each model its mean and its difference to the baseline."""
    rows = []
    for metric, text in metrics.items():
        cells = []
        for model in models:
            found = model.change(metric)
            cells.append(mean_and_sd(model.metric(metric)) + (f", {change(found)}" if found else ""))
        if any(cell != NONE for cell in cells):
            rows.append([text, *cells])
    return Table(f"{title}, and the difference to the baseline", ["", *(model.label for model in models)], rows)


def errors_table(models: Sequence[ModelResult]) -> Table:
    """Return the cost and the number of each kind of error."""
    known = [(model.label, model.errors) for model in models if model.errors]
    rows = []
    for kind in (*KINDS, *SPECIAL) if known else ():
        counts = [f" ({errors.counts[kind]:.0f})" if kind in errors.counts else "" for _, errors in known]
        cells = [mean_and_sd(errors.dap[kind]) + count for (_, errors), count in zip(known, counts, strict=True)]
        rows.append([kind.replace("_", " "), *cells])
    title = (
        "Kinds of error: points of AP50 gained if fixed, mean ± standard deviation over the seeds (number of errors)"
    )
    return Table(title, ["kind", *(label for label, _ in known)], rows)


def curves_table(models: Sequence[ModelResult]) -> Table:
    """Return Ultralytics' mAP50-95 on val after each epoch, mean over the seeds."""
    found = {model.label: {e: mean for e, _, mean, _ in band(model.curves.get(ACCURACY, []))} for model in models}
    last = max((max(line) for line in found.values() if line), default=0)
    rows = [[str(epoch), *(points(line.get(epoch)) for line in found.values())] for epoch in range(1, last + 1)]
    return Table("mAP50-95 on val after each epoch, mean over the seeds", ["epoch", *found], rows)


def runs_table(results: Results) -> Table:
    """Return the finished runs."""
    rows = [
        [
            run.run,
            str(run.seed),
            points(run.ap),
            str(run.epochs),
            NONE if run.best_epoch is None else str(run.best_epoch),
            duration(run.training_seconds),
            counted(run.sessions, "session"),
            run.started,
            run.git.commit[:7] if run.git else NONE,
        ]
        for run in results.runs
    ]
    head = ["run", "seed", "AP", "epochs", "best epoch", "training", "in", "started", "commit"]
    return Table("Finished runs", head, rows)


def data_table(results: Results) -> Table:
    """Return what is known about the data set."""
    data = results.data
    shown: dict[str, object] = {}
    if data:
        shown = {"file": data.file, "split": data.split, "reason for the split": data.split_reason}
        shown |= {"digest": data.digest, "images": f"{data.images:,}", "boxes": f"{data.boxes:,}"}
        if data.annotation_boxes is not None:
            shown |= {"boxes in the labels": shown.pop("boxes"), "boxes in the COCO JSON": f"{data.annotation_boxes:,}"}
        shown["classes"] = f"{len(data.class_names)}: {joined(data.class_names)}"
    return values_table("Data", shown)


def values_table(title: str, values: Mapping[str, object]) -> Table:
    """Return names and values as a table of two columns."""
    return Table(title, ["", "value"], [[name, _text(value)] for name, value in values.items()])


def _text(value: object) -> str:
    if isinstance(value, (list, tuple)):
        return joined(value) or NONE
    return NONE if value is None else str(value)
