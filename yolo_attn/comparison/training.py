"""Train one run, or resume its training: checkpoints, sessions and progress. Runs in the run's own process."""

from __future__ import annotations

import os
import shutil
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from ..atomic_files import write_bytes, write_note
from ..errors import UserError
from ..experiment.epochs import Epoch, cut_epochs, durations
from ..experiment.plan import Plan, Run
from ..experiment.records import PeakMemory, Progress, Session, Sessions, Transfer
from ..experiment.storage import encode, read, write
from . import environment, tracker_names

if TYPE_CHECKING:
    from ..integration.queries.validation import Stopped

NOTE_SECONDS = 1.0  # between two notes on the progress within an epoch
# Beside Ultralytics' last.pt and best.pt: the last.pt before, and best.pt before it is stripped.
PREVIOUS, BEST_COPY = "previous.pt", "best_copy.pt"


def train(plan: Plan, run: Run) -> None:
    """Train ``run``, or resume after its last checkpoint, or return if nothing is left to train.

    Raises:
        UserError: If the training would resume in another folder, because this one has been moved.
    """
    from ..integration.queries import seed_pairing, tracker_project, validation  # start-up time
    from ..integration.weights import loading  # start-up time

    checkpoint, stopped = find_checkpoint(run)
    if stopped is not None:
        repair_best(run, checkpoint, stopped)
    _close_session(run)
    if stopped is not None and stopped.finished:
        _remove_copies(run)
        return
    arguments: dict[str, Any]
    if stopped is not None:
        if Path(stopped.folder).resolve() != run.folder.resolve():
            raise UserError(
                f"{run.folder}: its unfinished training belongs to {stopped.folder}; "
                f"move the folder back, or delete {run.folder} to train again"
            )
        cut_epochs(run.folder / "results.csv", stopped.epoch)
        model, arguments = validation.open_model(str(checkpoint)), {"resume": True}
    else:
        if run.weights.exists():
            sys.stderr.write(f"{run.folder}: no checkpoint can be read, so the training starts again\n")
        shutil.rmtree(run.weights, ignore_errors=True)
        for leftover in ("results.csv", "sessions.json", "transfer.json"):
            (run.folder / leftover).unlink(missing_ok=True)
        model, arguments = validation.open_model(run.model_file), {"plots": False, **plan.arguments}
        arguments |= {"data": absolute(plan.data), "seed": run.seed}
        arguments |= {"project": str(run.folder.parent.resolve()), "name": run.name, "exist_ok": True}
    _open_session(run)
    progress = _ProgressNotes(plan, run)
    with loading.watched() as loaded:
        if "resume" not in arguments:  # by then the model has its weights
            path = run.folder / "transfer.json"
            model.add_callback("on_train_start", lambda _: write(path, Transfer(loaded())))
        model.add_callback("on_pretrain_routine_start", seed_pairing.reseed)
        group = tracker_names.project_name(plan)
        model.add_callback("on_pretrain_routine_start", lambda trainer: tracker_project.name_project(trainer, group))
        model.add_callback("on_train_start", progress.begin)
        model.add_callback("on_train_batch_end", progress.batch)
        model.add_callback("on_train_epoch_end", progress.epoch)
        model.add_callback("on_train_start", lambda trainer: keep_previous(run, trainer))
        model.add_callback("on_fit_epoch_end", lambda trainer: keep_best(run, trainer))
        model.add_callback("on_fit_epoch_end", lambda _: _close_session(run, time.time()))
        model.train(**arguments)
    _close_session(run, time.time())
    _remove_copies(run)


def best_checkpoint(run: Run) -> Path:
    """Return the checkpoint of the chosen epoch.

    Raises:
        UserError: If the training left none.
    """
    for name in ("best.pt", "last.pt"):
        if (run.weights / name).is_file():
            return run.weights / name
    raise UserError(f"{run.model_file}: the training left no checkpoint in {run.weights}")


def find_checkpoint(run: Run) -> tuple[Path, Stopped | None]:
    """Return the checkpoint to resume from and where it stands; None if there is no readable checkpoint.

    It is the readable one with the most epochs. Ultralytics overwrites ``last.pt`` in place, so a process that was
    killed meanwhile has left a part of it; ``previous.pt`` is the one before, see :func:`keep_previous`.
    """
    from ..integration.queries import validation  # start-up time

    paths = [run.weights / name for name in ("last.pt", PREVIOUS, "best.pt")]
    found = [(path, validation.read_stop(path)) for path in paths]
    return max(found, key=lambda each: each[1].epoch if each[1] else -1)


def keep_previous(run: Run, trainer: Any) -> None:
    """Move ``last.pt`` aside whenever Ultralytics is about to write the next one in its place, not earlier.

    Ultralytics returns to ``last.pt`` from an epoch with a NaN, before it saves.
    """
    last, save = run.weights / "last.pt", trainer.save_model

    def save_model(*args: Any, **kwargs: Any) -> Any:
        if last.is_file():
            last.replace(run.weights / PREVIOUS)
        try:
            return save(*args, **kwargs)
        finally:
            if not last.is_file() and (run.weights / PREVIOUS).is_file():  # it did not save
                (run.weights / PREVIOUS).replace(last)

    trainer.save_model = save_model


def keep_best(run: Run, trainer: Any) -> None:
    """Copy ``best.pt`` after the last epoch: Ultralytics then strips it in place."""
    best, copy = run.weights / "best.pt", run.weights / BEST_COPY
    if (trainer.stop or trainer.epoch + 1 >= trainer.epochs) and best.is_file() and not copy.is_file():
        write_bytes(copy, best.read_bytes())


def repair_best(run: Run, checkpoint: Path, stopped: Stopped) -> None:
    """Repair ``best.pt`` if the process was killed before or while it was written.

    Ultralytics writes ``last.pt`` first and, after the best epoch, the same into ``best.pt``. A process killed in
    between has left no ``best.pt``, a part of it, or that of an earlier epoch, and a resumed training would not write
    it again. ``checkpoint`` and ``stopped`` are those of :func:`find_checkpoint`.
    """
    from ..integration.queries import validation  # start-up time

    best, copy = run.weights / "best.pt", run.weights / BEST_COPY
    found = validation.read_stop(best)
    if found is None or (not stopped.finished and (found.fitness or 0.0) < (stopped.fitness or 0.0)):
        source = copy if stopped.finished and copy.is_file() else checkpoint
        write_bytes(best, source.read_bytes())


def _remove_copies(run: Run) -> None:
    for name in (PREVIOUS, BEST_COPY):
        (run.weights / name).unlink(missing_ok=True)


class _ProgressNotes:
    """Writes ``progress.json`` for the process that shows the progress."""

    def __init__(self, plan: Plan, run: Run) -> None:
        self.plan = plan
        self.run = run
        self.done = 0
        self.noted = 0.0

    def begin(self, trainer: Any) -> None:
        self.note("training", int(trainer.start_epoch), 0, 0)

    def batch(self, trainer: Any) -> None:
        self.done += 1
        if time.monotonic() - self.noted >= NOTE_SECONDS:
            self.note("training", int(trainer.epoch), self.done, len(trainer.train_loader))

    def epoch(self, trainer: Any) -> None:
        self.done = 0
        self.note("validating", int(trainer.epoch), 0, 0)

    def note(self, phase: str, epoch: int, batch: int, batches: int) -> None:
        self.noted = time.monotonic()
        write_note(self.run.progress, encode(Progress(phase, epoch, self.plan.epochs, batch, batches)))


def read_sessions(run: Run) -> tuple[Session, ...]:
    """Return the processes that trained ``run``: more than one if it was resumed."""
    return (read(run.folder / "sessions.json", Sessions) or Sessions()).sessions


def peak_memory(sessions: Sequence[Session]) -> PeakMemory:
    """Return the most memory of any session, as :func:`environment.peak_memory` measures it."""
    peaks = [session.peak_memory for session in sessions if session.peak_memory]
    return PeakMemory(
        max((peak.resident_bytes for peak in peaks if peak.resident_bytes is not None), default=None),
        max((peak.gpu_bytes for peak in peaks if peak.gpu_bytes is not None), default=None),
    )


def epoch_seconds(epochs: list[Epoch]) -> float | None:
    """Return the median duration of an epoch with its validation in seconds; None with fewer than two epochs."""
    found = durations(epochs)
    return round(statistics.median(found), 3) if found else None


def _open_session(run: Run) -> None:
    session = Session(
        started=time.time(),
        process=os.getpid(),
        git=environment.git_state(),
        versions=environment.versions(),
        hardware=environment.hardware(),
    )
    write(run.folder / "sessions.json", Sessions((*read_sessions(run), session)))


def _close_session(run: Run, now: float | None = None) -> None:
    """Note ``now`` as the end of the last session; without ``now``, close a session that was cut off."""
    *earlier, last = read_sessions(run) or [None]
    if last is None or not last.open:
        return
    if now is None:
        last = replace(last, ended=last.ended or last.started, open=False)
    else:
        last = replace(last, ended=max(now, last.started), peak_memory=environment.peak_memory())
    write(run.folder / "sessions.json", Sessions((*earlier, last)))


def absolute(data: str) -> str:
    """Return a data YAML's absolute path: the training may resume from another working folder."""
    path = Path(data)
    return str(path.resolve()) if path.is_file() else data
