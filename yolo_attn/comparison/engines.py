"""Engines perform the runs of an experiment: one by one on this machine, or as Ray tasks.

An engine performs runs and reports their events to a :class:`Watch`. A run needs ``plan.json``, ``data.json``,
``controls/`` and its own folder. It writes to its own folder only, ``record.json`` last.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from msgspec.structs import replace

from ..errors import ArgumentError, DataError
from ..experiment.epochs import epochs_so_far
from ..experiment.plan import Plan, Run
from ..experiment.records import Progress
from ..experiment.storage import read
from ..messages import joined, nearest
from . import child_processes, tracker_names

ENGINES = ("one-by-one", "ray")
POLL = 0.5  # seconds between two looks at a run


class Watch(Protocol):
    """Receives run events."""

    def started(self, run: Run, where: str = "") -> None:
        """``run`` has started; ``where`` names the machine if it is another one."""

    def progressed(self, run: Run, progress: Progress) -> None:
        """``run`` has made progress."""

    def finished(self, run: Run) -> None:
        """``run`` has written its record."""

    def failed(self, run: Run, reason: str) -> None:
        """``run`` has ended without a record."""


class Engine(Protocol):
    """Performs runs."""

    def perform(self, plan: Plan, runs: Sequence[Run], watch: Watch) -> None:
        """Perform ``runs``. If one fails, tell ``watch`` and continue with the others.

        Raises:
            UserError: If the reason of a failure concerns every run, such as missing data.
            KeyboardInterrupt: If interrupted, after the processes have ended.
        """


class OneByOne:
    """Performs the runs one after the other, each in a process on this machine that writes to the run's ``log.txt``."""

    def perform(self, plan: Plan, runs: Sequence[Run], watch: Watch) -> None:
        for run in runs:
            watch.started(run)
            run.folder.mkdir(parents=True, exist_ok=True)
            run.progress.unlink(missing_ok=True)
            with run.log.open("ab") as log:
                names = tracker_names.variables(plan, run)
                process = child_processes.start(child_processes.WORKER, plan.folder, run.name, log=log, extra=names)
                while (status := child_processes.wait(process, POLL)) is None:
                    watch.progressed(run, read_progress(plan, run))
            if status == 0 and run.record.is_file():
                watch.finished(run)
                continue
            error = child_processes.error_of(run.error, status, run.log)
            if isinstance(error, child_processes.EVERY_RUN):
                raise error
            watch.failed(run, str(error))


def choose_engine(
    engine: str | None = None,
    gpus_per_run: str | float | None = None,
    cpus_per_run: str | float | None = None,
    address: str | None = None,
) -> Engine:
    """Return an engine.

    Args:
        engine: ``one-by-one``, the default, or ``ray``.
        gpus_per_run: For ``ray`` only, as the arguments below: see
            :class:`yolo_attn.comparison.ray.cluster_engine.RayEngine`.
        cpus_per_run: CPUs of a run.
        address: A cluster.

    Raises:
        ArgumentError: If there is no such engine, an argument does not belong to it, or ``ray`` is not installed.
    """
    if engine not in (None, *ENGINES):
        raise ArgumentError(f"engine={engine} must be one of {joined(ENGINES)}.{nearest(str(engine), ENGINES)}")
    if engine == "ray":
        from .ray.cluster_engine import RayEngine  # start-up time

        return RayEngine(gpus_per_run, cpus_per_run, address)
    given = {"gpus_per_run": gpus_per_run, "cpus_per_run": cpus_per_run, "address": address}
    for name, value in given.items():
        if value is not None:
            raise ArgumentError(f"{name}={value} needs engine=ray; one by one, each run has the whole machine")
    return OneByOne()


def read_progress(plan: Plan, run: Run) -> Progress:
    """Return the progress of ``run`` from its ``progress.json`` and ``results.csv``.

    The processes of a training on several GPUs write ``results.csv`` only.
    """
    epoch = len(epochs_so_far(run.folder / "results.csv"))
    try:
        noted = read(run.progress, Progress)
    except DataError:  # it is just being written
        noted = None
    if noted is None:
        return Progress("training" if epoch else "starting", epoch, plan.epochs)
    return replace(noted, epoch=max(epoch, noted.epoch))
