"""Who performs the runs: one after the other on this machine, or another engine with the same two methods.

An engine performs runs and tells a :class:`Watch` what happens. What a run needs is ``plan.json``, ``data.json``,
``controls/`` and its own folder; what it leaves is its own folder, and ``record.json`` in it if it is finished.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from msgspec.structs import replace

from ..errors import DataError
from ..experiment.epochs import epochs_so_far
from ..experiment.plan import Plan, Run
from ..experiment.records import Progress
from ..experiment.storage import read
from . import child_processes, tracker_names

POLL = 0.5  # seconds between two looks at a run


class Watch(Protocol):
    """Whoever wants to know what happens to the runs."""

    def started(self, run: Run, where: str = "") -> None:
        """``run`` has begun; ``where`` names the machine, if it is another."""

    def progressed(self, run: Run, progress: Progress) -> None:
        """``run`` is so far."""

    def finished(self, run: Run) -> None:
        """``run`` has its record."""

    def failed(self, run: Run, reason: str) -> None:
        """``run`` has ended without a record, for this reason."""


class Engine(Protocol):
    """Performs runs."""

    def perform(self, plan: Plan, runs: Sequence[Run], watch: Watch) -> None:
        """Perform ``runs``; those that fail are told to ``watch``, and the others go on.

        Raises:
            UserError: If the reason of a failure concerns every run, as missing data does.
            KeyboardInterrupt: If interrupted, after the processes have ended.
        """


class OneByOne:
    """Performs the runs one after the other, each in its own process on this machine."""

    def perform(self, plan: Plan, runs: Sequence[Run], watch: Watch) -> None:
        for run in runs:
            watch.started(run)
            reason = perform(plan, run, watch)
            if reason is None:
                watch.finished(run)
            else:
                watch.failed(run, reason)


def perform(plan: Plan, run: Run, watch: Watch) -> str | None:
    """Let a child train and validate ``run``; what it prints goes into the run's ``log.txt``.

    Returns:
        None, or why it failed.

    Raises:
        UserError: If the reason concerns every run.
    """
    run.folder.mkdir(parents=True, exist_ok=True)
    run.progress.unlink(missing_ok=True)
    with run.log.open("ab") as log:
        extra = tracker_names.environment(plan.folder.name, run, plan.id)
        process = child_processes.start("yolo_attn.comparison.worker", plan.folder, run.name, log=log, extra=extra)
        while (status := child_processes.wait(process, POLL)) is None:
            watch.progressed(run, read_progress(plan, run))
    if status == 0 and run.record.is_file():
        return None
    error = child_processes.mistake(run.error, status, run.log)
    if child_processes.concerns_every_run(error):
        raise error
    return str(error)


def read_progress(plan: Plan, run: Run) -> Progress:
    """Return how far ``run`` is, from what its process (or those of a training on several GPUs) has left so far."""
    epoch = len(epochs_so_far(run.folder / "results.csv"))
    try:
        noted = read(run.progress, Progress)
    except DataError:
        noted = None
    if noted is None:
        return Progress("training" if epoch else "starting", epoch, plan.epochs)
    return replace(noted, epoch=max(epoch, noted.epoch))
