"""The report in the terminal: warnings, tables, verdicts, notes. It fits 80 columns."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from ..experiment.results import Results
from ..messages import printable
from ..statistics import VerdictWord
from .comparison_title import subtitle
from .number_format import NONE, amount, median_of, points, probability, rate, ratio, signed
from .tables import ACCURACIES, cost_differences, more_latency

COLOURS: dict[VerdictWord, str] = {"better": "green", "worse": "red"}


def print_report(results: Results, console: Console, heading: str) -> None:
    """Print the report below ``heading``."""
    console.print()
    console.print(printable(heading), style="bold", highlight=False, markup=False)
    console.print(printable(subtitle(results)), style="dim", highlight=False, markup=False)
    for line in results.warnings:
        style = "red" if line.startswith("Failed") else "bold yellow"
        console.print(f"[{style}]{_text(line)}[/]", highlight=False)
    if not results.models:
        return
    console.print(_accuracy(results))
    console.print(_cost(results))
    for model in results.models:
        if model.effect:
            verdict = model.effect.verdict
            line = f"[{COLOURS.get(verdict.word, 'bold')}]{_text(model.label)}[/]: {_text(verdict.text)}"
            console.print(Padding(line, (0, 0, 0, 1)), highlight=False)
    console.print()
    for line in results.notes:
        console.print(Padding(_text(line), (0, 0, 0, 1)), style="dim", highlight=False)


def _accuracy(results: Results) -> Table:
    """Return the metrics: for each model the mean, below it the standard deviation, then the difference."""
    drawn = _table(["model", *ACCURACIES.values()])
    for model in results.models:
        found = [model.metric(name) for name in ACCURACIES]
        means, deviations = (points(item.mean) for item in found), [points(item.sd) for item in found]
        drawn.add_row(_text(model.label), *means, style="bold" if model.role == "baseline" else "")
        if any(text != NONE for text in deviations):
            drawn.add_row("  ± sd", *deviations, style="dim")
        if not model.effect:
            continue
        effects = [model.change(name) for name in ACCURACIES]
        drawn.add_row("  difference", *(_coloured(item.seeds.mean if item else None) for item in effects))
        ends = [item.interval if item else None for item in effects]
        if any(item and item.low is not None for item in ends):
            drawn.add_row("  95 % from", *(signed(item.low if item else None) for item in ends), style="dim")
            drawn.add_row("       to", *(signed(item.high if item else None) for item in ends), style="dim")
        if model.effect.verdict.p_holm is not None:
            drawn.add_row("  p (Holm)", probability(model.effect.verdict.p_holm), style="dim")
    return drawn


def _cost(results: Results) -> Table:
    """Return the costs of each model, below each other model the difference to the baseline."""
    drawn = _table(["model", "params\nM", "GFLOPs", "latency\nms", "images\nper s", "epoch\ns", "memory\nGiB"])
    for model in results.models:
        cost, training = model.cost, model.training
        measured = [NONE] * 4
        if cost:
            measured = [amount(cost.parameters, 1e6, 2), amount(cost.gflops)]
            measured += [median_of(cost.latency_ms, amount), median_of(cost.images_per_s, rate)]
        trained = [amount(training.epoch_seconds), amount(training.memory, 2**30, 2)]
        drawn.add_row(_text(model.label), *measured, *trained, style="bold" if model.role == "baseline" else "")
        if model.cost_ratios:
            drawn.add_row("  difference", *cost_differences(model.cost_ratios), style="dim")
            if cost and cost.latency_ratio and cost.throughput_ratio:
                over = cost.latency_ratio, cost.throughput_ratio
                drawn.add_row("  10 % from", "", "", *(ratio(found.p10) for found in over), "", "", style="dim")
                drawn.add_row("  90 % to", "", "", *(ratio(found.p90) for found in over), "", "", style="dim")
            more = more_latency(model, results.models[0])
            if more is not None:
                drawn.add_row("  in ms", "", "", signed(more), style="dim")
    return drawn


def _table(head: list[str]) -> Table:
    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1), show_edge=True)
    drawn.add_column(head[0], overflow="fold", min_width=12)
    for heading in head[1:]:
        drawn.add_column(heading, justify="right", no_wrap=True)
    return drawn


def _text(value: str) -> str:
    """Return text of a record for the terminal, without markup and control characters."""
    return escape(printable(value))


def _coloured(value: float | None) -> str:
    """Return a difference, coloured by its sign."""
    text = signed(value)
    if text == NONE or float(text) == 0:
        return text
    return f"[{'green' if text.startswith('+') else 'red'}]{text}[/]"
