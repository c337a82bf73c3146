"""Perform a comparison: check everything, train what is not yet trained, measure the costs, make the report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from .. import report
from ..experiment.plan import Plan
from ..experiment.records import read_record
from . import child_processes
from .engine import Engine, OneByOne
from .live_view import Live


def compare(plan: Plan, console: Console | None = None, engine: Engine | None = None) -> dict[str, Any]:
    """Train what is not yet trained, measure, write the report into ``plan.folder`` and print table and verdicts.

    Finished runs are kept, an interrupted one goes on from its last epoch. A run that fails is shown with its reason
    and the others go on.

    Args:
        plan: What to compare.
        console: Where to print; the terminal by default.
        engine: Who performs the runs; one after the other on this machine by default.

    Returns:
        What ``results.json`` holds.

    Raises:
        UserError: If nothing can be trained as asked: the folder holds another comparison, a word is misspelt, the
            data or a model is missing or unusable, the data have changed.
        KeyboardInterrupt: If interrupted, after one line that says how to go on.
    """
    console = console or Console()
    grown = plan.claim()
    runs = plan.runs
    to_do = [run for run in runs if not has_record(plan, run.folder)]
    _say(console, _opening(plan, grown, len(runs) - len(to_do), len(runs)))
    reasons: dict[str, str] = {}
    try:
        if to_do:
            preflight(plan)
            with Live(plan, console) as live:
                reasons = live.reasons
                (engine or OneByOne()).perform(plan, to_do, live)
        if any(run.record.is_file() for run in runs):
            measure(plan, console)
    except KeyboardInterrupt:
        _say(console, f"Interrupted. The same command goes on where this stopped (in {plan.folder}).")
        raise
    return report.make(plan.folder, console, failed=reasons)


def has_record(plan: Plan, folder: Path) -> bool:
    """Return whether the run in ``folder`` is finished.

    Raises:
        ArgumentError: If its record cannot be read, or is one of another comparison.
    """
    return read_record(folder / "record.json", plan.id) is not None


def preflight(plan: Plan) -> None:
    """Let a child check words, data and models before the first training.

    Raises:
        UserError: What the child found, in its words.
    """
    status = child_processes.wait(child_processes.start("yolo_attn.comparison.worker", plan.folder))
    if status:
        raise child_processes.mistake(plan.folder / "error.json", status)


def measure(plan: Plan, console: Console) -> None:
    """Let a child measure the costs of the models with a finished run, unless ``cost.json`` has them all."""
    from . import cost_measurement

    if cost_measurement.is_measured(plan):
        return
    _say(console, "Measuring parameters, operations, latency and throughput ...")
    status = child_processes.wait(child_processes.start("yolo_attn.comparison.cost_measurement", plan.folder))
    if status:
        error = child_processes.mistake(plan.folder / "error.json", status)
        if child_processes.concerns_every_run(error):
            raise error
        _say(console, f"No costs: {error}", style="red")


def _opening(plan: Plan, grown: list[str] | None, done: int, total: int) -> str:
    if grown is None:
        return f"Comparison of {total} runs in {plan.folder}"
    line = f"Going on in {plan.folder}: {done} of {total} runs are finished"
    return f"{line}; new: {'; '.join(grown)}" if grown else line


def _say(console: Console, line: str, style: str = "bold") -> None:
    console.print(f"[{style}]{escape(line)}[/]", soft_wrap=True, highlight=False)
    console.file.flush()  # the children write to the same terminal or file
