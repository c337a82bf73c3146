"""The child process of a comparison: trains and validates one run, and writes its record.

    python -m yolo_attn.comparison.worker FOLDER RUN     train, validate, write RUN/record.json
    python -m yolo_attn.comparison.worker FOLDER         check that the data and every model can be used

Exit status 0: done. 2: the user's mistake, one line in ``error.json``, no traceback. 1: anything else, its traceback
on stderr and its last line in ``error.json``. 130: interrupted.
"""

from __future__ import annotations

import contextlib
import datetime
import errno
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from ..errors import DataError, UserError, disk_full, user_error_in
from ..experiment import ground_truth_file
from ..experiment.data_set import DataFingerprint, Pairing
from ..experiment.epochs import Epoch, read_epochs
from ..experiment.ground_truth_file import GroundTruth, TruthInfo
from ..experiment.plan import Plan, Run
from ..experiment.records import EvaluatedData, Metrics, Record, RunError, Transfer
from ..experiment.storage import json_values, read, write
from ..integration.strict_mode import strict
from ..metrics import columns, compute_metrics
from . import training

PATIENCE = 5.0  # seconds that a run's folder may still be held by a process that is ending
# Arguments that say where on this machine a run lay, not what it was.
PLACES = ("project", "name", "save_dir", "exist_ok", "resume")


def main(argv: list[str] | None = None) -> int:
    """Run the worker with ``[folder, run]`` or ``[folder]``; returns the exit status."""
    words = sys.argv[1:] if argv is None else argv
    end_with_parent()
    plan = Plan.load(words[0])
    run = plan.run(words[1]) if len(words) > 1 else None
    report = run.error if run else plan.folder / "error.json"
    report.unlink(missing_ok=True)
    try:
        announce_layers()
        limit_threads()
        if run is None:
            check(plan)
        else:
            with alone(run), bad_data_refused():
                perform(plan, run)
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        mistake = disk_full(error, plan.folder) or user_error_in(error)
        if mistake is not None:
            write_mistake(report, mistake)
            return 2
        first = (str(error).strip().splitlines() or [""])[0]
        write(report, RunError(f"{type(error).__name__}: {first}".rstrip(": ")))
        raise
    return 0


def end_with_parent() -> None:
    """End this process soon after the one that started it, however that ended: nobody would know of its run."""
    parent = os.environ.get("YOLO_ATTN_PARENT")
    if parent is None or sys.platform == "win32":  # a virtual environment's python.exe stands between the two there
        return

    def watch() -> None:
        while os.getppid() == int(parent):
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def write_mistake(path: Path, error: UserError) -> None:
    """Leave a user's mistake where the parent finds it: its words, and which class of ``errors`` it is.

    On a full disk even that may fail; the words then stand in the log.
    """
    kind = next(cls.__name__ for cls in type(error).__mro__ if cls.__module__ == UserError.__module__)
    try:
        write(path, RunError(" ".join(str(error).split()), kind))
    except OSError as fault:
        sys.stderr.write(f"{error}\n")
        if fault.errno != errno.ENOSPC:
            raise


def announce_layers() -> None:
    """Make this package's layers known to Ultralytics in this process."""
    import yolo_attn

    yolo_attn.install()


def limit_threads() -> None:
    """Compute with no more threads than this run's share of the machine, where several run at once."""
    from ..integration.queries import thread_limit

    thread_limit.limit()


def bad_data_refused() -> contextlib.AbstractContextManager[None]:
    """Refuse images and labels that Ultralytics would leave out, for the baseline as for the variants."""
    return strict()


def check(plan: Plan) -> None:
    """Refuse what would fail only after hours: a misspelt word, missing or changed data, a model that is not there.

    Raises:
        UserError: The first thing that is wrong.
    """
    from ..integration.queries import seed_pairing, validation

    validation.check_training_arguments(plan.arguments)
    data = validation.check_data(plan.data)
    if plan.split != "auto" and not data.get(plan.split):
        raise UserError(f"data {plan.data} has no split {plan.split}; use split=auto or another")
    check_unchanged(plan, data)
    write(plan.folder / "pairing.json", Pairing(seed_pairing.seeds_reach_workers(), seed_pairing.describe()))
    for entry in plan.planned_models:
        try:
            validation.open_model(entry.file)
        except UserError:
            raise
        except Exception as error:  # a fault of the layer: its own run shows it in full, the others go on
            why = f"{type(error).__name__}: {error}"
            sys.stderr.write(f"{entry.file} cannot be built ({why}); its run will say more\n")


def check_unchanged(plan: Plan, data: dict[str, Any]) -> str:
    """Return the digest of the data set, and refuse one that has changed since the comparison began.

    Args:
        plan: Its ``data.json`` holds the fingerprint of the beginning, and is written if there is none.
        data: The data YAML's content with absolute paths.

    Raises:
        DataError: If images or labels have changed; names the splits.
    """
    from ..integration.queries import data_fingerprint

    now = msgspec.convert(data_fingerprint.fingerprint(data), DataFingerprint)
    before = read(plan.folder / "data.json", DataFingerprint)
    if before is None:
        write(plan.folder / "data.json", now)
    elif before.digest != now.digest:
        raise DataError(
            f"the data set {plan.data} has changed since the comparison in {plan.folder} began: "
            f"{'; '.join(before.changes(now))}. Put it back, or use another folder="
        )
    return now.digest


@contextlib.contextmanager
def alone(run: Run) -> Iterator[None]:
    """Hold the run's folder against another process that trains the same run, as a second command would.

    Raises:
        UserError: If one does.
    """
    run.folder.mkdir(parents=True, exist_ok=True)
    with (run.folder / ".lock").open("a+") as file:
        if sys.platform != "win32":
            import fcntl

            end = time.monotonic() + PATIENCE
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # ends with the process, however it ends
                    break
                except OSError:
                    if time.monotonic() > end:
                        file.seek(0)
                        who = f"process {file.read().strip() or '?'}"
                        raise UserError(f"{run.folder} is being trained by {who}; wait for it or end it") from None
                    time.sleep(0.2)
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


def perform(plan: Plan, run: Run) -> None:
    """Train ``run`` (from where it stopped), validate its best checkpoint and write its record."""
    from ..integration.queries import validation

    validation.check_training_arguments(plan.arguments)
    digest = check_unchanged(plan, validation.check_data(plan.data))
    training.train(plan, run)

    checkpoint = training.best_checkpoint(run)
    data = training.absolute(plan.data)
    result = validation.evaluate(checkpoint, data, plan.arguments, plan.split, run.folder / "validation")
    predictions = columns(result.predictions)
    truth = ground_truth_file.keep(
        plan,
        run.name,
        GroundTruth(TruthInfo(result.split, result.image_folder, result.annotation_file), **result.truth),
    )
    sessions = training.read_sessions(run)
    epochs = read_epochs(run.folder / "results.csv")
    transfer = read(run.folder / "transfer.json", Transfer)
    record = Record(
        experiment=plan.id,
        run=run.name,
        model=run.model,
        model_file=run.model_file if run.role != "control" or run.control == "repeat" else Path(run.model_file).name,
        role=run.role,
        control=run.control,
        seed=run.seed,
        arguments=_arguments(plan, run),
        model_yaml=json_values(getattr(validation.open_checkpoint(checkpoint), "yaml", None)),
        checkpoint=checkpoint.relative_to(run.folder).as_posix(),
        git=sessions[0].git,
        versions=sessions[0].versions,
        hardware=sessions[0].hardware,
        data=EvaluatedData(
            file=plan.data,
            split=result.split,
            split_reason=result.reason,
            images=len(result.images),
            boxes=len(result.boxes),
            class_names=result.names,
            digest=digest,
        ),
        started=_moment(sessions[0].started),
        ended=_moment(time.time()),
        sessions=len(sessions),
        resumed_versions=[session.versions for session in sessions[1:]],
        transfer=transfer.line if transfer else None,
        training_seconds=round(sum((session.ended or session.started) - session.started for session in sessions), 1),
        epoch_seconds=training.epoch_seconds(epochs),
        peak_memory=training.peak_memory(sessions),
        epochs=epochs,
        best_epoch=best_epoch(epochs),
        metrics=Metrics(coco=compute_metrics(truth.coco, predictions), ultralytics={**result.ultralytics}),
        predictions=predictions,
    )
    write(run.record, record)


def best_epoch(epochs: list[Epoch]) -> int | None:
    """Return the number of the epoch with the highest mAP50-95 on val, of equal ones the last, as ``best.pt`` has it.

    Early versions of Ultralytics choose by nine parts of mAP50-95 and one of mAP50.
    """
    key = "metrics/mAP50-95(B)"
    rated = [row for row in epochs if row.get(key) is not None]
    return int(max(reversed(rated), key=lambda row: row[key])["epoch"]) if rated else None  # type: ignore[arg-type,return-value]


def _arguments(plan: Plan, run: Run) -> dict[str, Any]:
    """Return the arguments of the training as Ultralytics filled them in, without this machine's paths."""
    import yaml

    path = run.folder / "args.yaml"
    found = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else {}
    found = {key: value for key, value in found.items() if key not in PLACES}
    return dict(json_values({**found, **plan.arguments, "model": run.model, "data": plan.data}))


def _moment(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds).astimezone().isoformat(timespec="seconds")


if __name__ == "__main__":
    sys.exit(main())
