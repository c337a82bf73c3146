"""Show the progress of the runs: bars and a grid of models x seeds on a terminal, plain lines elsewhere."""

from __future__ import annotations

import datetime
import math
import time
from collections.abc import Callable
from types import TracebackType

import rich.live
from rich.console import Console, Group, RenderableType
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Column, Table
from rich.text import Text

from ..experiment import records
from ..experiment.epochs import epochs_so_far
from ..experiment.plan import Plan, PlannedModel, Run
from ..messages import counted
from ..statistics.verdicts import signed
from .interim_results import METRIC, Curve, mean_best, mean_difference

QUIET = 30.0  # seconds between two plain lines about one run, at least
VAL = "metrics/mAP50-95(B)"
SIGNS = {"done": "✓", "running": "▶", "waiting": "·", "failed": "✗"}  # so that the grid can be read without colour
ASCII_SIGNS = {"done": "+", "running": ">", "waiting": ".", "failed": "x"}
STYLES = {"done": "green", "running": "bold cyan", "waiting": "dim", "failed": "bold red"}
GROUP = 10  # signs without a gap


class Live:
    """Shows run events; a :class:`yolo_attn.comparison.engines.Watch`, used as a context manager.

    Args:
        plan: The experiment.
        console: Where to show them.
        clock: Returns seconds that only increase.

    Attributes:
        reasons: Why runs failed, by name of the run.
    """

    def __init__(self, plan: Plan, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self.plan = plan
        self.console = console
        self.reasons: dict[str, str] = {}
        self.runs = plan.runs
        self.states = {run.name: "done" if run.record.is_file() else "waiting" for run in self.runs}
        self.curves = {run.name: Curve(_values(run), self.states[run.name] == "done") for run in self.runs}
        self.epochs: dict[str, float] = {
            name: plan.epochs if curve.done else len(curve.values) for name, curve in self.curves.items()
        }
        self.printed: dict[str, tuple[float, int]] = {}  # when a line about a run was printed, and its epochs then
        self.clock = clock
        self.signs = ASCII_SIGNS if console.options.ascii_only else SIGNS
        elapsed = TimeElapsedColumn()
        self.total = Progress(
            BarColumn(40), elapsed, TimeRemainingColumn(), TextColumn("left"),
            get_time=clock, speed_estimate_period=math.inf,
        )  # fmt: skip
        self.all_runs = self.total.add_task("", total=plan.epochs * len(self.runs))
        name = Column(no_wrap=True, overflow="ellipsis", max_width=32)
        status = Column(no_wrap=True, overflow="ellipsis", ratio=1)
        self.bars = Progress(
            TextColumn("{task.description}", markup=False, table_column=name), BarColumn(12), elapsed,
            TextColumn("{task.fields[status]}", markup=False, table_column=status), get_time=clock, expand=True,
        )  # fmt: skip
        self.tasks = {
            run.name: self.bars.add_task(run.name, visible=False, start=False, status="") for run in self.runs
        }
        self.view: rich.live.Live | None = None

    def __enter__(self) -> Live:
        self.total.reset(self.all_runs, completed=int(sum(self.epochs.values())))  # the time counts from here
        if self.console.is_terminal and not self.console.is_dumb_terminal:
            self.view = rich.live.Live(get_renderable=self.render, console=self.console)
            self.view.start(refresh=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.view is not None:
            self.view.stop()  # draws a last time, and shows the cursor again
            self.view = None

    def started(self, run: Run, where: str = "") -> None:
        """``run`` has started, or started again after its machine was lost."""
        again = self.states[run.name] == "running"
        self.states[run.name] = "running"
        epochs = len(self._read(run).values)
        self.printed[run.name] = (self.clock(), epochs)
        place = f" on {where}" if where else ""
        task = self.tasks[run.name]
        self.bars.reset(task, total=self.plan.epochs, completed=epochs, visible=True)
        self.bars.update(task, description=run.name, status=f"starting{place}", place=place)
        self._line(run, f"{'training again' if again else 'training'}{place}")

    def progressed(self, run: Run, progress: records.Progress) -> None:
        """``run`` has made progress."""
        self._show(run)
        done = progress.epoch + (progress.batch / progress.batches if progress.batches else 0.0)
        self._count(run, done)
        values = self._read(run).values
        latest = _points(values[-1] if values else None)
        task = self.bars.tasks[self.tasks[run.name]]
        self.bars.update(task.id, completed=done, status=_facts(_phase(progress), latest) + task.fields["place"])
        when, epochs = self.printed[run.name]
        if progress.epoch > epochs and self.clock() - when >= QUIET:
            self.printed[run.name] = (self.clock(), progress.epoch)
            self._line(run, _facts(f"epoch {progress.epoch} of {progress.epochs} done", latest, self._left()))

    def finished(self, run: Run) -> None:
        """``run`` has written its record."""
        self._show(run)
        curve = self._read(run)
        self._count(run, len(curve.values))
        self._end(run, "done")
        curve.done = True
        best = curve.best()
        elapsed = self.bars.tasks[self.tasks[run.name]].elapsed or 0.0
        points = "" if best is None else f"best {_points(best)}{self._against_base(run)}"
        self._line(run, _facts(f"finished in {_duration(elapsed)}", points, self._left()))

    def failed(self, run: Run, reason: str) -> None:
        """``run`` has ended without a record."""
        self.reasons[run.name] = reason
        self._end(run, "failed")
        self._line(run, f"failed: {' '.join(reason.split())}", always=True)

    def render(self) -> RenderableType:
        """Return the view as it is now."""
        counts = [f"{list(self.states.values()).count(state)} {state}" for state in ("running", "failed", "waiting")]
        shown = ", ".join(count for count in counts if not count.startswith("0 "))
        done = list(self.states.values()).count("done")
        headline = Text(f"{done} of {len(self.runs)} runs done{', ' if shown else ''}{shown}", style="bold")
        legend = Text("  ".join(f"{sign} {state}" for state, sign in self.signs.items()), style="dim")
        if any(curve.values for curve in self.curves.values()):
            legend.append(f"\n{METRIC}: best epoch, mean of the finished runs, before of the running ones")
            legend.append("\nto base: the difference to the baseline's, up to the last epoch that both have")
        return Group(headline, self.total, self.grid(), legend, self.bars)

    def grid(self) -> Table:
        """Return the table of models and seeds: one sign for each run, and what the runs have reached so far."""
        first, last = self.plan.seeds[0], self.plan.seeds[-1]
        table = Table(box=None, pad_edge=False)
        reached = any(curve.values for curve in self.curves.values())
        table.add_column("model", no_wrap=True, overflow="ellipsis", max_width=22 if reached else 32)
        table.add_column(f"seeds {first} to {last}" if len(self.plan.seeds) > 1 else f"seed {first}")
        table.add_column("done", no_wrap=True, justify="right")
        for heading in (METRIC, "to base") if reached else ():
            table.add_column(heading, no_wrap=True, justify="right")
        for model in self.plan.planned_models:
            states = [self.states[run.name] for run in self.runs if run.model == model.name]
            strip = Text()
            for number, state in enumerate(states):
                strip.append(" " if number and number % GROUP == 0 else "")
                strip.append(self.signs[state], style=STYLES[state])
            table.add_row(
                Text(model.name), strip, f"{states.count('done')} of {len(states)}", *(self._so_far(model) * reached)
            )
        return table

    def _so_far(self, model: PlannedModel) -> tuple[str, str]:
        """Return a model's metric and its difference to the base; empty where there is none yet."""
        pairs = self._pairs(model)
        best, difference = mean_best([mine for mine, _ in pairs]), mean_difference(pairs)
        if model.role == "baseline" or difference is None:
            return "" if best is None else f"{best:.1f}", ""
        return f"{best:.1f}", signed(difference, 1)

    def _against_base(self, run: Run) -> str:
        """Return a clause with the mean difference to the base of a model's runs so far, for a plain line."""
        model = next(model for model in self.plan.planned_models if model.name == run.model)
        pairs = self._pairs(model)
        difference = None if model.role == "baseline" else mean_difference(pairs)
        if difference is None:
            return ""
        seeds = counted(sum(None not in (mine.best(), its.best()) for mine, its in pairs), "seed")
        return f", difference to {self.plan.planned_models[0].name} {signed(difference, 1)} ({seeds})"

    def _pairs(self, model: PlannedModel) -> list[tuple[Curve, Curve]]:
        """Return the curves of a model's runs, each with the base's that it is compared with."""
        base = self.plan.planned_models[0]
        names = zip(self._names(model), self._names(base), strict=True)
        return [(self.curves[mine], self.curves[its]) for mine, its in names]

    def _names(self, model: PlannedModel) -> list[str]:
        by_seed = {run.seed: run.name for run in self.runs if run.model == model.name}
        return [by_seed[seed] for seed in model.seeds]

    def _read(self, run: Run) -> Curve:
        """Read the epochs of ``run`` again."""
        self.curves[run.name].values = _values(run)
        return self.curves[run.name]

    def _show(self, run: Run) -> None:
        if self.states[run.name] != "running":
            self.started(run)

    def _count(self, run: Run, epochs: float) -> None:
        self.epochs[run.name] = epochs
        self.total.update(self.all_runs, completed=sum(self.epochs.values()))

    def _end(self, run: Run, state: str) -> None:
        """Hide the bar of ``run``. The epochs that it did not train, after an error or an early stop, are not left."""
        self.states[run.name] = state
        total = self.total.tasks[self.all_runs].total or 0
        self.total.update(self.all_runs, total=total - self.plan.epochs + math.ceil(self.epochs[run.name]))
        self.bars.stop_task(self.tasks[run.name])
        self.bars.update(self.tasks[run.name], visible=False)

    def _left(self) -> str:
        seconds = self.total.tasks[self.all_runs].time_remaining
        return f"about {_duration(seconds)} left for all runs" if seconds else ""

    def _line(self, run: Run, text: str, *, always: bool = False) -> None:
        """Print a line if there is no live view, or ``always``: then above the view."""
        if self.view is None or always:
            line = f"[{self.runs.index(run) + 1}/{len(self.runs)}] {run.name}: {text}"
            self.console.print(Text(line), soft_wrap=True, highlight=False)
            self.console.file.flush()


def _phase(progress: records.Progress) -> str:
    if progress.phase == "starting":
        return "starting"
    if progress.epoch >= progress.epochs:
        return "validating the best epoch"
    epoch = f"epoch {progress.epoch + 1} of {progress.epochs}"
    return f"{epoch}, validating" if progress.phase == "validating" else epoch


def _values(run: Run) -> list[float | None]:
    """Return mAP50-95 on val of each finished epoch, from 0 to 1."""
    return [row.get(VAL) for row in epochs_so_far(run.folder / "results.csv")]


def _points(value: float | None) -> str:
    return "" if value is None else f"{METRIC} {100 * value:.1f}"


def _facts(*facts: str) -> str:
    return ", ".join(filter(None, facts))


def _duration(seconds: float) -> str:
    return str(datetime.timedelta(seconds=round(seconds)))
