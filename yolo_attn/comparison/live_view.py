"""What a person sees while the runs are performed: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType

import rich.live
from rich.console import Console, RenderableType
from rich.text import Text

from ..experiment.epochs import epochs_so_far
from ..experiment.plan import Plan, Run
from ..experiment.records import Progress
from . import progress_table, remaining_time
from .progress_table import State
from .remaining_time import Pace

REDRAW = 0.25  # seconds between two drawings, at least
QUIET = 30.0  # seconds between two plain lines about one run, at least
VAL = "metrics/mAP50-95(B)"


class Live:
    """Shows what happens to the runs; a :class:`yolo_attn.comparison.engines.Watch`, used as a context manager.

    It draws when it is told something, so that it needs no thread of its own.

    Args:
        plan: What is compared.
        console: Where to show it; a live table if it is a terminal, else lines.
        clock: Returns seconds that only grow.

    Attributes:
        reasons: Why runs failed, by run name.
    """

    def __init__(self, plan: Plan, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self.plan = plan
        self.console = console
        self.clock = clock
        self.reasons: dict[str, str] = {}
        self.runs = plan.runs
        self.number = {run.name: index for index, run in enumerate(self.runs, 1)}
        self.states = {run.name: _at_first(run) for run in self.runs}
        self.rows = {run.name: len(_figures(run)) for run in self.runs if not run.record.is_file()}
        self.pace = Pace(plan.epochs)
        self.begun = clock()
        self.drawn = float("-inf")
        self.said: dict[str, tuple[float, int]] = {}  # when a line about a run was printed, and its epochs then
        self.view: rich.live.Live | None = None

    def __enter__(self) -> Live:
        self.begun = self.clock()
        if self.console.is_terminal and not self.console.is_dumb_terminal:
            self.view = rich.live.Live(
                get_renderable=self.render, console=self.console, auto_refresh=False, vertical_overflow="ellipsis"
            )
            self.view.start(refresh=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.view is not None:
            self.view.stop()  # draws a last time, and shows the cursor again
            self.view = None

    def started(self, run: Run, where: str = "") -> None:
        """``run`` has begun, or begun again after its machine was lost."""
        again = self.states[run.name].word == "running"
        self.states[run.name] = State("running", where, figure=_latest(run))
        self.pace.begin(run, len(_figures(run)), self.clock())
        self.said[run.name] = (self.clock(), len(_figures(run)))
        place = f" on {where}" if where else ""
        self._line(run, f"{'training again' if again else 'training'}{place}")
        self._draw(at_once=True)

    def progressed(self, run: Run, progress: Progress) -> None:
        """``run`` is so far."""
        self._know(run)
        state, now = self.states[run.name], self.clock()
        before = state.progress.epoch if state.progress else -1
        state.progress = progress
        self.pace.note(run, progress.epoch, now, training=progress.phase != "starting")
        if progress.epoch != before:
            state.figure = _latest(run)
        when, epochs = self.said[run.name]
        if progress.epoch > epochs and now - when >= QUIET:
            self.said[run.name] = (now, progress.epoch)
            facts = [f"epoch {progress.epoch} of {progress.epochs} done", progress_table.points(state.figure)]
            self._line(run, ", ".join(fact for fact in facts if fact) + self._and_left())
        self._draw()

    def finished(self, run: Run) -> None:
        """``run`` has its record."""
        self._know(run)
        now, last = self.clock(), self.states[run.name].progress
        self.pace.note(run, max(len(_figures(run)), last.epoch if last else 0), now)
        self.pace.end(run, now)
        self.states[run.name] = State("done", figure=_best(run))
        best = progress_table.points(_best(run))
        taken = remaining_time.words(self.pace.seconds(run, now))
        self._line(run, f"finished in {taken}{f', best {best}' if best else ''}{self._and_left()}")
        self._draw(at_once=True)

    def failed(self, run: Run, reason: str) -> None:
        """``run`` has ended without a record."""
        self.reasons[run.name] = reason
        self.states[run.name].word = "failed"
        if run.name in self.said:
            self.pace.end(run, self.clock())
        self._line(run, f"failed: {' '.join(reason.split())}", always=True)
        self._draw(at_once=True)

    def _know(self, run: Run) -> None:
        if run.name not in self.said:
            self.started(run)

    def render(self) -> RenderableType:
        """Return the live table as it is now."""
        now = self.clock()
        for run in self.runs:
            if self.states[run.name].word == "running":
                self.states[run.name].taken = remaining_time.words(self.pace.seconds(run, now))
        options = self.console.options
        return progress_table.draw(
            self.plan, self.runs, self.states, self.headline(), options.max_width, ascii_only=options.ascii_only
        )

    def headline(self) -> str:
        """Return how many runs are in which state; below it, how long it has taken and about how long it will."""
        counts = [
            (sum(state.word == word for state in self.states.values()), word)
            for word in ("running", "failed", "waiting")
        ]
        done = sum(state.word == "done" for state in self.states.values())
        parts = [f"{done} of {len(self.runs)} runs done", *(f"{count} {word}" for count, word in counts if count)]
        times = [f"{remaining_time.words(self.clock() - self.begun)} so far", self._left()]
        return f"{', '.join(parts)}\n{', '.join(time for time in times if time)}"

    def _left(self) -> str:
        running = [run for run in self.runs if self.states[run.name].word == "running"]
        waiting = [(run, self.rows.get(run.name, 0)) for run in self.runs if self.states[run.name].word == "waiting"]
        if not running and not waiting:
            return ""
        return remaining_time.about(self.pace.left(running, waiting, self.clock()))

    def _and_left(self) -> str:
        left = self._left()
        return f"; all runs: {left}" if left else ""

    def _line(self, run: Run, text: str, *, always: bool = False) -> None:
        """Print a line if there is no table, or ``always``, which puts it above the table."""
        if self.view is None or always:
            line = f"[{self.number[run.name]}/{len(self.runs)}] {run.name}: {text}"
            self.console.print(Text(line), soft_wrap=True, highlight=False)
            self.console.file.flush()

    def _draw(self, *, at_once: bool = False) -> None:
        now = self.clock()
        if self.view is not None and (at_once or now - self.drawn >= REDRAW):
            self.drawn = now
            self.view.refresh()


def _at_first(run: Run) -> State:
    return State("done", figure=_best(run)) if run.record.is_file() else State()


def _figures(run: Run) -> list[float | None]:
    """Return mAP50-95 on val of each finished epoch, 0 to 1."""
    return [row.get(VAL) for row in epochs_so_far(run.folder / "results.csv")]


def _latest(run: Run) -> float | None:
    figures = _figures(run)
    return figures[-1] if figures else None


def _best(run: Run) -> float | None:
    return max((figure for figure in _figures(run) if figure is not None), default=None)
