"""The tables of a report, as text: the page and Markdown show the same ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..metrics.tide_errors import KINDS, SPECIAL
from .number_format import (
    NONE,
    amount,
    counted,
    duration,
    interval,
    memory,
    points,
    probability,
    ratio,
    signed,
    spread,
    whole,
)
from .training_curves import ACCURACY, band

# figure -> heading; COCO's first, then Ultralytics' own
ACCURACIES = {
    "AP": "AP",
    "AP50": "AP50",
    "AP_small": "AP-S",
    "AP_medium": "AP-M",
    "AP_large": "AP-L",
    "mAP50": "mAP50",
    "mAP50-95": "mAP50-95",
}
SIZES = {"AP_small": "small", "AP_medium": "medium", "AP_large": "large"}


@dataclass(frozen=True)
class Table:
    """A table of text; the first cell of a row names it.

    Attributes:
        title: What it shows.
        head: Headings.
        rows: Rows of as many cells.
        minor: Indices of rows that belong to the one above.
    """

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    minor: frozenset[int] = frozenset()


def label(model: Mapping[str, Any]) -> str:
    """Return a model's title, and of which kind a control is."""
    return f"{model['title']} (control: {model['control']})" if model["role"] == "control" else str(model["title"])


def figure(model: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return mean, standard deviation and values of one figure of a model; None in all if it has none."""
    return model["figures"].get(name) or {"mean": None, "sd": None, "values": []}


def effect(model: Mapping[str, Any], name: str) -> Mapping[str, Any] | None:
    """Return the difference of a model's figure to the baseline's, None if there is none."""
    return ((model["effect"] or {}).get("metrics") or {}).get(name)


def all_tables(results: Mapping[str, Any]) -> dict[str, Table]:
    """Return every table that has a row, by name, in the order of the page."""
    models = results["models"]
    found = {
        "accuracy": accuracy(models),
        "cost": cost(models),
        "effects": effects(models),
        "sizes": by_size(models),
        "classes": by_class(models),
        "errors": errors(models),
        "curves": curves(models),
        "runs": runs(results),
        "missing": missing(results),
        "weights": weights(models),
        "data": data(results),
        "recipe": pairs("Recipe, as asked for", results["plan"]["train"]),
        "arguments": pairs("Every training argument, as Ultralytics filled it in", results["arguments"]),
        "versions": pairs("Versions", results["versions"]),
        "hardware": pairs("Hardware of the training", results["hardware"]),
    }
    return {name: table for name, table in found.items() if table.rows}


def accuracy(models: Sequence[Mapping[str, Any]]) -> Table:
    """Return the figures, baseline first, and under each other model what it differs by."""
    rows: list[list[str]] = []
    minor = set()
    for model in models:
        cells = [mean_and_spread(figure(model, name)) for name in ACCURACIES]
        rows.append([label(model), str(len(model["seeds"])), *cells, ""])
        if model["effect"]:
            minor.add(len(rows))
            found = [effect(model, name) for name in ACCURACIES]
            changes = [signed(item["seeds"]["mean"]) if item else NONE for item in found]
            rows.append(["difference", "", *changes, probability(model["effect"]["verdict"]["p_holm"])])
            ends = [interval(whole(item)) if item else NONE for item in found]
            if any(end != NONE for end in ends):
                minor.add(len(rows))
                rows.append(["95 % interval", "", *ends, ""])
    head = ["model", "seeds", *ACCURACIES.values(), "p (Holm)"]
    title = "Accuracy in per cent, mean ± standard deviation; differences in points with their 95 % interval"
    return Table(title, head, rows, frozenset(minor))


def mean_and_spread(found: Mapping[str, Any]) -> str:
    """Return ``45.3 ± 0.4``."""
    return f"{points(found['mean'])} {spread(found['sd'])}".strip()


def _change(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return NONE
    ends = interval(whole(found))
    return signed(found["seeds"]["mean"]) + (f" ({ends})" if ends != NONE else "")


def cost(models: Sequence[Mapping[str, Any]]) -> Table:
    """Return what each model costs, and under each what that is of the baseline."""
    rows: list[list[str]] = []
    minor = set()
    for model in models:
        found, training = model["cost"] or {}, model["training"]
        latency, throughput = found.get("latency_ms") or {}, found.get("images_per_s") or {}
        rows.append(
            [
                label(model),
                amount(found.get("parameters"), 1e6, 2),
                amount(found.get("gflops")),
                _with_range(latency, 2),
                _with_range(throughput, 1),
                duration(training["epoch_seconds"]),
                memory(training["gpu_bytes"] or training["resident_bytes"]),
            ]
        )
        ratios = model["cost_ratios"]
        if ratios:
            minor.add(len(rows))
            most = ratios["gpu_bytes"] or ratios["resident_bytes"]
            keys = ("parameters", "gflops", "latency", "throughput", "epoch_seconds")
            rows.append(["difference", *(ratio(ratios[key]) for key in keys), ratio(most)])
    head = ["model", "params (M)", "GFLOPs", "latency (ms)", "images/s", "an epoch", "peak memory"]
    return Table("Cost; 10 to 90 % of the rounds in brackets", head, rows, frozenset(minor))


def _with_range(found: Mapping[str, float], digits: int) -> str:
    if not found:
        return NONE
    return f"{found['median']:.{digits}f} ({found['p10']:.{digits}f} to {found['p90']:.{digits}f})"


def effects(models: Sequence[Mapping[str, Any]]) -> Table:
    """Return every difference but those by class: intervals by source, p values, and each seed's."""
    rows = []
    for model in models:
        for name, found in ((model["effect"] or {}).get("metrics") or {}).items():
            if name.startswith("AP["):
                continue
            seeds = found["seeds"]
            rows.append(
                [
                    label(model),
                    name,
                    str(seeds["n"]),
                    signed(seeds["mean"]),
                    amount(seeds["sd"]),
                    f"{interval(seeds)}{f' ({method})' if (method := seeds['method']) != 'none' else ''}",
                    interval(found["images"]),
                    interval(found["combined"]),
                    probability(seeds["p_t"]),
                    probability(seeds["p_permutation"]),
                    probability(seeds["p_smallest"]),
                    " ".join(signed(value) for value in seeds["values"]),
                ]
            )
    head = ["model", "figure", "seeds", "difference", "sd", "95 % over seeds", "95 % over images", "95 % over both",
            "p (t)", "p (permutation)", "its least", "by seed"]  # fmt: skip
    return Table("Differences to the baseline, points", head, rows)


def by_size(models: Sequence[Mapping[str, Any]]) -> Table:
    """Return AP by size of the object."""
    return _grid("AP by size of the object", models, [(name, f"AP {what}") for name, what in SIZES.items()])


def by_class(models: Sequence[Mapping[str, Any]]) -> Table:
    """Return AP by class."""
    names = list(dict.fromkeys(name for model in models for name in model["figures"] if name.startswith("AP[")))
    return _grid("AP by class", models, [(name, name[3:-1]) for name in names])


def _grid(title: str, models: Sequence[Mapping[str, Any]], figures: Sequence[tuple[str, str]]) -> Table:
    """Return a row for each figure, and for each model its mean, with the difference where there is one."""
    rows = []
    for name, text in figures:
        cells = []
        for model in models:
            found = effect(model, name)
            change = f" ({_change(found)})" if found else ""
            cells.append(f"{mean_and_spread(figure(model, name))}{change}".replace("((", "(").replace("))", ")"))
        if any(cell != NONE for cell in cells):
            rows.append([text, *cells])
    return Table(title, ["", *(label(model) for model in models)], rows)


def errors(models: Sequence[Mapping[str, Any]]) -> Table:
    """Return each kind of error: what it costs and how many there are."""
    known = [model for model in models if model["error_kinds"]]
    rows = []
    for kind in (*KINDS, *SPECIAL):
        cells = []
        for model in known:
            number = model["error_kinds"]["counts"].get(kind)
            many = f" ({amount(number, 1, 0)})" if number is not None else ""
            cells.append(f"{points(model['error_kinds']['dap'][kind])}{many}")
        rows.append([kind.replace("_", " "), *cells])
    title = "Kinds of error: points of AP50 that would be gained without it (how many there are), mean over the seeds"
    return Table(title, ["kind", *(label(model) for model in known)], rows if known else [])


def curves(models: Sequence[Mapping[str, Any]]) -> Table:
    """Return Ultralytics' mAP50-95 on val after each epoch, mean over the seeds."""
    found = {label(model): {e: mean for e, _, mean, _ in band(model["curves"].get(ACCURACY, []))} for model in models}
    last = max((max(line) for line in found.values() if line), default=0)
    rows = [[str(epoch), *(points(line.get(epoch)) for line in found.values())] for epoch in range(1, last + 1)]
    return Table("mAP50-95 on val after each epoch, mean over the seeds", ["epoch", *found], rows)


def runs(results: Mapping[str, Any]) -> Table:
    """Return the finished runs."""
    rows = [
        [
            run["run"],
            str(run["seed"]),
            points(run["AP"]),
            str(run["epochs"]),
            NONE if run["best_epoch"] is None else str(run["best_epoch"]),
            duration(run["train_seconds"]),
            counted(run["sessions"] or 1, "session"),
            run["started"] or NONE,
            ((run["git"] or {}).get("commit") or NONE)[:7],
        ]
        for run in results["runs"]
    ]
    head = ["run", "seed", "AP", "epochs", "best epoch", "training", "in", "started", "commit"]
    return Table("Finished runs", head, rows)


def missing(results: Mapping[str, Any]) -> Table:
    """Return the runs without a record."""
    rows = [[item["run"], item["reason"] or "not finished"] for item in results["missing"]]
    return Table("Missing runs", ["run", "why"], rows)


def weights(models: Sequence[Mapping[str, Any]]) -> Table:
    """Return which weights each model started from."""
    found = {label(model): model["training"]["transferred"] for model in models if model["training"]["transferred"]}
    return pairs("Weights at the start", found)


def data(results: Mapping[str, Any]) -> Table:
    """Return what is known about the data set."""
    found = results["data"] or {}
    shown = {key: value for key, value in found.items() if key not in ("names", "boxes", "images")}
    if found:
        shown |= {"images": f"{found['images']:,}", "boxes": f"{found['boxes']:,}"}
        shown["classes"] = f"{len(found['names'])}: {', '.join(map(str, found['names']))}"
    return pairs("Data", shown)


def pairs(title: str, found: Mapping[str, Any] | None) -> Table:
    """Return a mapping as a table of two columns."""
    rows = [[key.replace("_", " ") if title == "Data" else key, _text(value)] for key, value in (found or {}).items()]
    return Table(title, ["", "value"], rows)


def _text(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value)) or NONE
    return NONE if value is None else str(value)
