"""Draw the table of a comparison from its folder: terminal, Markdown, CSV and JSON. Imports no torch.

``results.json`` holds everything the table says; the other forms are made from it.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from yolo_attn.compare.plan import Plan, Run, title
from yolo_attn.compare.records import read_json, write_json, write_text

NONE = "–"  # noqa: RUF001 - the usual sign for "does not apply"
STEADY = 2.0  # 90th over 10th percentile of a latency from which on the caption warns; a choice, not a measured limit
# key in results.json, heading, unit under it, kind
COLUMNS = (
    ("parameters", "params", "M", "cost"),
    ("gflops", "GFLOPs", "", "cost"),
    ("map50", "mAP50", "", "points"),
    ("map", "mAP", "50-95", "points"),
    ("ap_small", "AP-S", "", "points"),
    ("ap_medium", "AP-M", "", "points"),
    ("ap_large", "AP-L", "", "points"),
    ("latency_ms", "latency", "ms", "cost"),
)
POINTS = tuple(key for key, _, _, kind in COLUMNS if kind == "points")


def collect(folder: str | Path, failed: dict[str, str] | None = None) -> dict[str, Any]:
    """Return what is known about the comparison in ``folder``.

    Args:
        folder: The comparison's folder.
        failed: Reasons by model, for runs without a record; by default the reasons kept in the folder.

    Returns:
        ``plan``, ``data``, ``latency``, ``models`` (the baseline first; figures from 0 to 1, ``difference`` to the
        baseline in points of 100 or as a ratio), ``failed``, ``unfinished`` and ``caption``.

    Raises:
        WordError: If there is no comparison in ``folder``.
    """
    folder = Path(folder)
    plan = Plan.load(folder)
    cost = read_json(folder / "cost.json") or {}
    records = {run.name: read_json(run.record) for run in plan.runs}
    models = [
        _model(run, record, cost.get("models", {}).get(run.name))
        for run, record in ((run, records[run.name]) for run in plan.runs)
        if record is not None
    ]
    baseline = models[0] if models and models[0]["model"] == plan.base else None
    for model in models:
        model["role"] = "baseline" if model is baseline else "variant"
        model["difference"] = _difference(model, baseline) if baseline and model is not baseline else None
    missing = [run for run in plan.runs if records[run.name] is None]
    if failed is None:
        left = {run.model: read_json(run.error) for run in missing}
        failed = {model: error["message"] for model, error in left.items() if error}
    done = [record for record in records.values() if record is not None]
    results: dict[str, Any] = {
        "plan": {
            "base": plan.base,
            "models": list(plan.models),
            "data": plan.data,
            "seed": plan.seed,
            "split": plan.split,
            "train": plan.train,
        },
        "data": done[0]["data"] if done else None,
        "recipe": {key: done[0]["arguments"].get(key) for key in ("epochs", "imgsz", "pretrained")} if done else None,
        "latency": cost.get("latency"),
        "versions": done[0]["versions"] if done else None,
        "hardware": done[0]["hardware"] if done else None,
        "git": done[0]["git"] if done else None,
        "models": models,
        "failed": failed,
        "unfinished": [run.model for run in missing if run.model not in failed],
    }
    results["caption"] = _caption(results, plan, done, cost)
    return results


def write(folder: str | Path, results: dict[str, Any]) -> None:
    """Write ``results.json``, ``results.md`` and ``results.csv`` into ``folder``."""
    folder = Path(folder)
    write_json(folder / "results.json", results)
    write_text(folder / "results.md", markdown(results))
    write_text(folder / "results.csv", table_csv(results))


def show(results: dict[str, Any], console: Console | None = None) -> None:
    """Print the table with its caption, and what failed."""
    console = console or Console()
    if results["models"]:
        console.print()
        console.print(table(results))
        for line in results["caption"]:
            console.print(Padding(escape(line), (0, 0, 0, 1)), style="dim", highlight=False)
    for model, reason in results["failed"].items():
        console.print(f"[red]{escape(f'{model} failed: {reason}')}[/]", highlight=False)
    for model in results["unfinished"]:
        console.print(f"[yellow]{escape(model)} is not finished; the same command goes on with it[/]", highlight=False)


def table(results: dict[str, Any]) -> Table:
    """Return the table: the baseline, then each variant with its differences to the baseline below."""
    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1), show_edge=True)
    drawn.add_column("model", overflow="fold", min_width=10)
    for _, heading, unit, _ in COLUMNS:
        drawn.add_column(f"{heading}\n{unit}" if unit else heading, justify="right", no_wrap=True)
    for model in results["models"]:
        emphasis = "bold" if model["role"] == "baseline" else ""
        drawn.add_row(escape(model["title"]), *(_value(model, key) for key, *_ in COLUMNS), style=emphasis)
        if model["difference"]:
            changes = [_styled(key, kind, model["difference"][key]) for key, _, _, kind in COLUMNS]
            drawn.add_row("[dim]  difference[/]", *changes)
    return drawn


def markdown(results: dict[str, Any]) -> str:
    """Return the same table and caption in Markdown."""
    headings = [" ".join(filter(None, (heading, f"({unit})" if kind == "cost" and unit else unit)))
                for _, heading, unit, kind in COLUMNS]  # fmt: skip
    lines = ["| " + " | ".join(["model", *headings]) + " |", "|:--|" + "--:|" * len(COLUMNS)]
    for model in results["models"]:
        cells = [model["title"].replace("|", "\\|"), *(_value(model, key) for key, *_ in COLUMNS)]
        lines.append("| " + " | ".join(cells) + " |")
        if model["difference"]:
            changes = [change(kind, model["difference"][key]) for key, _, _, kind in COLUMNS]
            lines.append("| " + " | ".join(["*difference*", *changes]) + " |")
    failures = [f"{model} failed: {reason}" for model, reason in results["failed"].items()]
    failures += [f"{model} is not finished." for model in results["unfinished"]]
    return "\n".join(lines) + "\n\n" + "\n\n".join([*results["caption"], *failures]) + "\n"


def table_csv(results: dict[str, Any]) -> str:
    """Return one row per model: the figures unrounded, mAP from 0 to 1, then the differences to the baseline."""
    keys = [key for key, *_ in COLUMNS]
    kinds = {key: kind for key, _, _, kind in COLUMNS}
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    names = [f"{key}_{'points_more' if kinds[key] == 'points' else 'ratio'}" for key in keys]
    writer.writerow(["model", "role", "seed", *keys, "latency_ms_p10", "latency_ms_p90", *names])
    for model in results["models"]:
        difference = model["difference"] or {}
        ends = [(model["latency_spread"] or {}).get(end) for end in ("p10", "p90")]
        writer.writerow(
            [model["model"], model["role"], model["seed"], *(model[key] for key in keys), *ends]
            + [difference.get(key) for key in keys]
        )
    return file.getvalue()


def change(kind: str, value: float | None) -> str:
    """Return a difference as the table shows it: points of mAP with sign, or per cent; a multiple from 2 on."""
    if value is None:
        return NONE
    if kind == "points":
        return _signed(value)
    return f"x{value:.1f}" if value >= 2 else f"{_signed(100 * (value - 1))}%"


def _model(run: Run, record: dict[str, Any], cost: dict[str, Any] | None) -> dict[str, Any]:
    own, coco = record["figures"]["ultralytics"], record["figures"]["coco"]
    latency = cost["latency_ms"] if cost else None
    return {
        "model": run.model,
        "title": run.title,
        "run": run.name,
        "seed": run.seed,
        "parameters": cost["parameters"] if cost else None,
        "gflops": cost["gflops"] if cost else None,
        "map50": own["mAP50"],
        "map": own["mAP50-95"],
        "ap_small": coco["AP_small"],
        "ap_medium": coco["AP_medium"],
        "ap_large": coco["AP_large"],
        "latency_ms": latency["median"] if latency else None,
        "latency_spread": {"p10": latency["p10"], "p90": latency["p90"]} if latency else None,
        "latency_ratio": cost["latency_ratio"] if cost else None,
        "coco": coco,
        "epochs": len(record["epochs"]),
        "sessions": record["sessions"],
        "train_seconds": record["train_seconds"],
        "peak_memory": record["peak_memory"],
    }


def _difference(model: dict[str, Any], base: dict[str, Any]) -> dict[str, float | None]:
    """Points of 100 for mAP and AP, ratios for the costs; the latency's is the median of the rounds' ratios."""
    found: dict[str, float | None] = {}
    for key, _, _, kind in COLUMNS:
        mine, its = model[key], base[key]
        if mine is None or its is None:
            found[key] = None
        elif kind == "points":
            found[key] = 100 * (mine - its)
        else:
            found[key] = mine / its if its else None
    if model["latency_ratio"]:
        found["latency_ms"] = model["latency_ratio"]["median"]
    return found


def _value(model: dict[str, Any], key: str) -> str:
    value = model[key]
    if value is None:
        return NONE
    if key == "parameters":
        return f"{value / 1e6:.2f}"
    if key in POINTS:
        return f"{100 * value:.1f}"
    return f"{value:.1f}"


def _signed(value: float) -> str:
    text = f"{value:+.1f}"
    return text[1:] if float(text) == 0 else text


def _styled(key: str, kind: str, value: float | None) -> str:
    """Colour only what is accuracy: more is better there; whether a cost is worth it is the reader's question."""
    text = change(kind, value)
    if kind != "points" or value is None or float(text) == 0:
        return f"[dim]{text}[/]"
    return f"[{'green' if value > 0 else 'red'}]{text}[/]"


def _caption(results: dict[str, Any], plan: Plan, records: list[dict[str, Any]], cost: dict[str, Any]) -> list[str]:
    if not records:
        return []
    data, recipe = results["data"], results["recipe"]
    start = f"started from {title(recipe['pretrained'])}" if isinstance(recipe["pretrained"], str) else "from scratch"
    if any(not run.model.endswith((".yaml", ".yml")) for run in plan.runs):
        start = "started from the given checkpoints"
    lines = [
        f"{title(plan.data)}, {data['split']} split ({data['split_reason']}): {data['images']} images, "
        f"{data['boxes']} boxes. {_epochs(results['models'], recipe['epochs'])} at {recipe['imgsz']} px, {start}, "
        f"seed {plan.seed}.",
        "Accuracy in per cent, differences in points: mAP50 and mAP50-95 by Ultralytics "
        f"{records[0]['versions'].get('ultralytics', '?')} (as yolo val prints them), AP-S, AP-M, AP-L (COCO's sizes) "
        f"by faster-coco-eval {records[0]['versions'].get('faster-coco-eval', '?')}.",
    ]
    loaded = [f"{title(r['model'])} {r['transferred']}" for r in records if r.get("transferred")]
    if loaded:
        lines.append(f"Weights at the start: {'. '.join(loaded)}.")
    latency = results["latency"]
    if latency:
        threads = f", {latency['threads']} threads" if latency["threads"] else ""
        spreads = "; ".join(_spread(model) for model in results["models"] if model["latency_spread"])
        lines.append(
            f"GFLOPs: 2 x multiply-adds at {cost['gflops_imgsz']} px. Latency: batch {latency['batch']} at "
            f"{latency['imgsz']} px, {latency['dtype']}, fused, without NMS, on {latency['device']}{threads}; median "
            f"of {latency['rounds']} rounds taken in turn, difference by round. 10 to 90 % of them, ms: {spreads}."
        )
    unsteady = [model["title"] for model in results["models"] if _unsteady(model)]
    if unsteady:
        lines.append(
            f"Careful: the latency of {', '.join(unsteady)} swings by more than x{STEADY:g}, as on a busy machine; do "
            "not use it. Delete cost.json and give the same command again when the machine is idle."
        )
    lines += _notes(records)
    lines.append(
        "One seed shows that the models train, not that one is better: runs of the same model differ with the seed "
        "too. Compare over seeds before you believe a difference."
    )
    return lines


def _spread(model: dict[str, Any]) -> str:
    ends = model["latency_spread"]
    text = f"{model['title']} {ends['p10']:.1f} to {ends['p90']:.1f}"
    ratio = model["latency_ratio"]
    if model["role"] == "baseline" or not ratio:
        return text
    return f"{text} (x{ratio['p10']:.2f} to x{ratio['p90']:.2f} of the baseline)"


def _unsteady(model: dict[str, Any]) -> bool:
    ends = model["latency_spread"]
    return bool(ends) and ends["p90"] > STEADY * ends["p10"]


def _epochs(models: list[dict[str, Any]], planned: Any) -> str:
    text = f"{planned} epoch{'s' if planned != 1 else ''}"
    early = [f"{model['title']} stopped after {model['epochs']}" for model in models if model["epochs"] != planned]
    return f"{text} ({', '.join(early)})" if early else text


def _notes(records: list[dict[str, Any]]) -> list[str]:
    """Return what makes the runs less alike than the table suggests."""
    notes = []
    resumed = [title(record["model"]) for record in records if record["sessions"] > 1]
    if resumed:
        notes.append(
            f"Interrupted and resumed: {', '.join(resumed)}; not the same random numbers as a training in one piece."
        )
    for part, what in (("versions", "versions"), ("hardware", "hardware"), ("data", "evaluated data")):
        kinds = [{key: value for key, value in record[part].items() if key != "path"} for record in records]
        keys = sorted({key for kind in kinds for key in kind if kind.get(key) != kinds[0].get(key)})
        if keys:
            notes.append(f"Careful: the runs differ in {what} ({', '.join(keys)}); see their record.json.")
    return notes
