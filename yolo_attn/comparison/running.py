"""Perform an experiment: check everything, train what is not trained yet, measure the costs."""

from __future__ import annotations

import shutil

from rich.console import Console
from rich.markup import escape

from ..experiment.plan import Plan
from ..experiment.records import read_record
from . import child_processes, cost_measurement, folder_locks
from .engines import Engine, OneByOne
from .live_view import Live


def run_experiment(plan: Plan, console: Console | None = None, engine: Engine | None = None) -> dict[str, str]:
    """Perform the runs that are not finished and measure the costs of the models.

    Finished runs are kept, and interrupted runs resume after their last epoch. If a run fails, the others continue.

    Args:
        plan: The experiment.
        console: Where to print; the terminal by default.
        engine: Performs the runs; by default one after the other on this machine.

    Returns:
        Why runs failed, by name of the run.

    Raises:
        UserError: If nothing can be trained: the folder holds another experiment, an argument is misspelt, the data
            or a model is missing or unusable, the data have changed, or another command uses the folder.
        KeyboardInterrupt: If interrupted, after a line that says how to resume.
    """
    console = console or Console()
    plan.check_folder()
    with folder_locks.one_command(plan):
        return _perform(plan, console, engine or OneByOne())


def _perform(plan: Plan, console: Console, engine: Engine) -> dict[str, str]:
    grown = plan.claim()
    runs = plan.runs
    waiting = [run for run in runs if read_record(run.record, plan.id) is None]
    _print(console, _opening(plan, grown, len(runs) - len(waiting), len(runs)))
    failures: dict[str, str] = {}
    try:
        if waiting:
            check_inputs(plan, is_new=grown is None)
            with Live(plan, console) as live:
                failures = live.reasons
                engine.perform(plan, waiting, live)
        if any(run.record.is_file() for run in runs):
            measure_costs(plan, console)
    except KeyboardInterrupt:
        _print(console, f"Interrupted. Rerun the command to resume (in {plan.folder}).")
        raise
    return failures


def check_inputs(plan: Plan, *, is_new: bool) -> None:
    """Check arguments, data and models in a child process before the first training.

    Args:
        plan: The experiment.
        is_new: Remove its folder again if it cannot begin.

    Raises:
        UserError: The error that the child found.
    """
    status = child_processes.wait(child_processes.start(child_processes.WORKER, plan.folder))
    if status:
        error = child_processes.error_of(plan.folder / "error.json", status)
        if is_new:
            shutil.rmtree(plan.folder, ignore_errors=True)
        raise error


def measure_costs(plan: Plan, console: Console) -> None:
    """Measure the costs of the models in a child process, unless ``cost.json`` has every model with a finished run."""
    if cost_measurement.is_measured(plan):
        return
    _print(console, "Measuring parameters, operations, latency and throughput ...")
    status = child_processes.wait(child_processes.start("yolo_attn.comparison.cost_measurement", plan.folder))
    if status:
        error = child_processes.error_of(plan.folder / "error.json", status)
        if isinstance(error, child_processes.EVERY_RUN):
            raise error
        _print(console, f"No costs: {error}", style="red")


def _opening(plan: Plan, grown: list[str] | None, done: int, total: int) -> str:
    if grown is None:
        return f"Comparison of {total} runs in {plan.folder}"
    line = f"Resuming in {plan.folder}: {done} of {total} runs are finished"
    return f"{line}; new: {'; '.join(grown)}" if grown else line


def _print(console: Console, line: str, style: str = "bold") -> None:
    console.print(f"[{style}]{escape(line)}[/]", soft_wrap=True, highlight=False)
    console.file.flush()  # the children write to the same terminal or file
