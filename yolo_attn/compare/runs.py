"""Run a comparison: each training is a child process, one after the other, then the costs, then the table."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from yolo_attn import errors
from yolo_attn.compare import report
from yolo_attn.compare.plan import Plan, Run
from yolo_attn.compare.records import read_epochs, read_json
from yolo_attn.errors import UserError

DEFAULT_EPOCHS = 100  # of `yolo train`
# These concern every run; the others concern one model.
EVERY_RUN = ("DataError", "WordError", "UnsupportedUltralyticsError")


def compare(plan: Plan, console: Console | None = None) -> dict[str, Any]:
    """Train what is not yet trained, measure, write the results into ``plan.folder`` and print the table.

    Finished runs are kept, an interrupted one goes on from its last epoch. A run that fails is shown with its reason
    and the others go on.

    Args:
        plan: What to compare.
        console: Where to print; the terminal by default. The trainings write to the terminal themselves.

    Returns:
        What ``results.json`` holds; ``failed`` maps each model that failed to the reason.

    Raises:
        UserError: If nothing can be trained as asked: the folder holds another comparison, a word is misspelt, the
            data or a model is missing or unusable.
        KeyboardInterrupt: If interrupted, after one line that says how to go on.
    """
    console = console or Console()
    going_on = plan.claim()
    say = _Speaker(console)
    say(f"{'Going on in' if going_on else 'Comparison in'} {plan.folder}")
    runs = plan.runs
    failed: dict[str, str] = {}
    try:
        if not all(run.record.is_file() for run in runs):
            preflight(plan)
        for number, run in enumerate(runs, start=1):
            mark = f"[{number}/{len(runs)}] {run.model}:"
            if run.record.is_file():
                say(f"{mark} finished before, kept")
                continue
            say(f"{mark} {_intention(plan, run)} ...")
            reason = train(plan, run)
            if reason is not None:
                failed[run.model] = reason
                say(f"{mark} failed: {reason}", style="red")
        if any(run.record.is_file() for run in runs):
            measure(plan, say)
    except KeyboardInterrupt:
        say(f"Interrupted. The same command goes on where this stopped (in {plan.folder}).")
        raise
    results = report.collect(plan.folder, failed)
    report.write(plan.folder, results)
    report.show(results, console)
    return results


class _Speaker:
    """Prints one line after what the children have written."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def __call__(self, line: str, style: str = "bold") -> None:
        self.console.print(f"[{style}]{escape(line)}[/]", soft_wrap=True, highlight=False)
        self.console.file.flush()  # the children write to the same terminal or file


def preflight(plan: Plan) -> None:
    """Let a child check words, data and models before the first training.

    Raises:
        UserError: What the child found, in its words.
    """
    status = _child("yolo_attn.compare.worker", plan.folder)
    if status:
        raise _mistake(plan.folder / "error.json", status)


def train(plan: Plan, run: Run) -> str | None:
    """Let a child train and validate ``run``. Returns None, or why it failed.

    Raises:
        UserError: If the reason concerns every run, as missing data does.
    """
    status = _child("yolo_attn.compare.worker", plan.folder, run.name)
    if status == 0 and run.record.is_file():
        return None
    error = _mistake(run.error, status)
    if type(error).__name__ in EVERY_RUN:
        raise error
    return str(error)


def measure(plan: Plan, say: _Speaker) -> None:
    """Let a child measure the costs of the finished runs, unless ``cost.json`` has them all."""
    finished = {run.name: read_json(run.record)["ended"] for run in plan.runs if run.record.is_file()}
    if (read_json(plan.folder / "cost.json") or {}).get("runs") == finished:
        return
    say(f"Measuring parameters, operations and latency of {len(finished)} models ...")
    status = _child("yolo_attn.compare.cost", plan.folder)
    if status:
        say(f"No costs: {_mistake(plan.folder / 'error.json', status)}", style="red")


def command(module: str, *words: str | Path) -> list[str]:
    """Return the command line of a child process."""
    return [sys.executable, "-m", module, *map(str, words)]


def _child(module: str, *words: str | Path) -> int:
    """Run a child to its end; it writes to this terminal. Returns its exit status.

    Raises:
        KeyboardInterrupt: If the child or this process was interrupted.
    """
    process = subprocess.Popen(command(module, *words), env=_environment())
    try:
        status = process.wait()
    except KeyboardInterrupt:
        # A Ctrl-C has reached the child too; it saves nothing more, its last epoch is on disk.
        try:
            process.wait(timeout=10)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            process.kill()
            process.wait()
        raise
    if status in (130, -signal.SIGINT):
        raise KeyboardInterrupt
    return status


def _environment() -> dict[str, str]:
    """Return the environment in which a child finds this very package, installed or not."""
    root = Path(__file__).resolve().parents[2]
    environment = dict(os.environ)
    if root.name not in ("site-packages", "dist-packages"):
        rest = environment.get("PYTHONPATH")
        environment["PYTHONPATH"] = os.pathsep.join([str(root), *([rest] if rest else [])])
    return environment


def _mistake(path: Path, status: int) -> UserError:
    """Return the error a child left behind, of the class it had there if the user made the mistake."""
    left = read_json(path)
    if left is None:
        if status < 0:
            name = signal.Signals(-status).name
            hint = "; the system may have run out of memory" if name == "SIGKILL" else ""
            return UserError(f"its process was ended by {name}{hint}")
        return UserError(f"its process ended with status {status} and no word")
    kind = getattr(errors, left["kind"] or "", UserError)
    return kind(left["message"] + ("" if left["kind"] else " (in full above)"))


def _intention(plan: Plan, run: Run) -> str:
    epochs = plan.train.get("epochs", DEFAULT_EPOCHS)
    if (run.folder / "weights" / "last.pt").is_file():
        done = len(read_epochs(run.folder / "results.csv"))
        return "validating" if done >= epochs else f"going on after {done} of {epochs} epochs"
    return f"training ({epochs} epoch{'s' if epochs != 1 else ''})"
