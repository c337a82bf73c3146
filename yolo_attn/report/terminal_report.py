"""The report in the terminal: what must be read first, tables, verdicts, captions. 80 columns are enough."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from .number_format import NONE, amount, points, probability, rate, ratio, signed, whole
from .tables import ACCURACIES, effect, figure, label

COLOURS = {"better": "green", "worse": "red"}


def show(results: Mapping[str, Any], console: Console) -> None:
    """Print the report."""
    console.print()
    for line in results["first"]:
        style = "red" if line.startswith("Failed") else "bold yellow"
        console.print(f"[{style}]{escape(line)}[/]", highlight=False)
    if not results["models"]:
        return
    console.print(accuracy(results))
    console.print(cost(results))
    verdicts = [model for model in results["models"] if model["effect"]]
    for model in verdicts:
        verdict = model["effect"]["verdict"]
        colour = COLOURS.get(verdict["word"], "bold")
        line = f"[{colour}]{escape(label(model))}[/]: {escape(verdict['text'])}"
        console.print(Padding(line, (0, 0, 0, 1)), highlight=False)
    console.print()
    for line in results["caption"]:
        console.print(Padding(escape(line), (0, 0, 0, 1)), style="dim", highlight=False)


def accuracy(results: Mapping[str, Any]) -> Table:
    """Return the figures: of each model the mean, under it the standard deviation, then the difference."""
    drawn = _table(["model", *ACCURACIES.values()])
    for model in results["models"]:
        emphasis = "bold" if model["role"] == "baseline" else ""
        found = [figure(model, name) for name in ACCURACIES]
        drawn.add_row(escape(label(model)), *(points(item["mean"]) for item in found), style=emphasis)
        if any(item["sd"] is not None for item in found):
            drawn.add_row("  ± sd", *(points(item["sd"]) for item in found), style="dim")
        if not model["effect"]:
            continue
        effects = [effect(model, name) for name in ACCURACIES]
        drawn.add_row("  difference", *(_styled(item["seeds"]["mean"] if item else None) for item in effects))
        ends = [whole(item) if item else {"low": None, "high": None} for item in effects]
        if any(item["low"] is not None for item in ends):
            drawn.add_row("  95 % from", *(signed(item["low"]) for item in ends), style="dim")
            drawn.add_row("       to", *(signed(item["high"]) for item in ends), style="dim")
        verdict = model["effect"]["verdict"]
        if verdict["p_holm"] is not None:
            drawn.add_row("  p (Holm)", probability(verdict["p_holm"]), style="dim")
    return drawn


def cost(results: Mapping[str, Any]) -> Table:
    """Return what each model costs, and under it that over the baseline's."""
    drawn = _table(["model", "params\nM", "GFLOPs", "latency\nms", "images\nper s", "epoch\ns", "memory\nGiB"])
    for model in results["models"]:
        found, training = model["cost"] or {}, model["training"]
        bytes_ = training["gpu_bytes"] or training["resident_bytes"]
        drawn.add_row(
            escape(label(model)),
            amount(found.get("parameters"), 1e6, 2),
            amount(found.get("gflops")),
            amount((found.get("latency_ms") or {}).get("median")),
            rate((found.get("images_per_s") or {}).get("median")),
            amount(training["epoch_seconds"]),
            amount(bytes_, 2**30, 2),
            style="bold" if model["role"] == "baseline" else "",
        )
        ratios = model["cost_ratios"]
        if ratios:
            cells = [ratio(ratios[key]) for key in ("parameters", "gflops", "latency", "throughput", "epoch_seconds")]
            drawn.add_row("  difference", *cells, ratio(ratios["gpu_bytes"] or ratios["resident_bytes"]), style="dim")
    return drawn


def _table(head: list[str]) -> Table:
    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1), show_edge=True)
    drawn.add_column(head[0], overflow="fold", min_width=12)
    for heading in head[1:]:
        drawn.add_column(heading, justify="right", no_wrap=True)
    return drawn


def _styled(value: float | None) -> str:
    """Colour a difference by its sign, which stands there too."""
    text = signed(value)
    if text == NONE or float(text) == 0:
        return text
    return f"[{'green' if text.startswith('+') else 'red'}]{text}[/]"
