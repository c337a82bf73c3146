"""The child process that trains and validates one run, and writes its record.

    python -m yolo_attn.comparison.worker FOLDER RUN     train, validate, write RUN/record.json
    python -m yolo_attn.comparison.worker FOLDER         check that the data and every model can be used

Exit status 0: done. 2: invalid input; ``error.json`` has the message. 1: a fault; the traceback is on stderr and its
last line in ``error.json``. 130: interrupted.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from ..errors import DataError, DiskFullError, UserError, user_error_in
from ..experiment import ground_truth_file
from ..experiment.data_set_file import DataFingerprint, Pairing
from ..experiment.epochs import Epoch, read_epochs
from ..experiment.ground_truth_file import GroundTruth, TruthInfo
from ..experiment.plan import Plan, Run
from ..experiment.records import EvaluatedData, Metrics, Record, RunError, Transfer
from ..experiment.storage import json_values, read, write
from ..integration import install
from ..integration.strict_mode import strict
from ..metrics import columns, compute_metrics
from . import training

PATIENCE = 5.0  # seconds that an ending process may still hold a run's folder
# Arguments with paths of this machine.
PLACES = ("project", "name", "save_dir", "exist_ok", "resume")


def main(argv: list[str] | None = None) -> int:
    """Run the worker with ``[folder, run]`` or ``[folder]``; return the exit status."""
    folder, *names = sys.argv[1:] if argv is None else argv
    end_with_parent()
    plan = Plan.load(folder)
    run = plan.run(names[0]) if names else None

    def work() -> None:
        from ..integration.queries import thread_limit  # start-up time

        thread_limit.limit()  # to this run's share, if several runs share the machine
        with strict():
            if run is None:
                check(plan)
            else:
                with alone(run):
                    perform(plan, run)

    return exit_status(work, run.folder if run else plan.folder)


def exit_status(work: Callable[[], None], folder: Path) -> int:
    """Do the work of a child process and return its exit status.

    Args:
        work: What to do, with this package installed.
        folder: Where ``error.json`` is written if it fails.
    """
    report = folder / "error.json"
    report.unlink(missing_ok=True)
    try:
        install()
        work()
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        mistake = user_error_in(error, folder)
        if mistake is None:
            first = (str(error).strip().splitlines() or [""])[0]
            write(report, RunError(f"{type(error).__name__}: {first}".rstrip(": ")))
            raise
        kind = next(cls.__name__ for cls in type(mistake).__mro__ if cls.__module__ == UserError.__module__)
        try:
            write(report, RunError(" ".join(str(mistake).split()), kind))
        except DiskFullError:
            sys.stderr.write(f"{mistake}\n")
        return 2
    return 0


def end_with_parent() -> None:
    """End this process soon after the process that started it: without that one, nobody waits for the run."""
    parent = os.environ.get("YOLO_ATTN_PARENT")
    if parent is None or sys.platform == "win32":  # there, a virtual environment's python.exe stands between the two
        return

    def watch() -> None:
        while os.getppid() == int(parent):
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def check(plan: Plan) -> None:
    """Check what would fail only after hours: misspelt arguments, missing or changed data, missing models.

    Raises:
        UserError: The first error found.
    """
    from ..integration.queries import seed_pairing, validation  # start-up time

    validation.check_training_arguments(plan.arguments)
    data = validation.check_data(plan.data)
    if plan.split != "auto" and not data.get(plan.split):
        raise UserError(f"data {plan.data} has no split {plan.split}; use split=auto or another split")
    check_unchanged(plan, data)
    write(plan.folder / "pairing.json", Pairing(seed_pairing.seeds_reach_workers(), seed_pairing.describe()))
    for model in plan.planned_models:
        try:
            validation.open_model(model.file)
        except UserError:
            raise
        except Exception as error:  # a fault of the layer: its own run shows the traceback, the others continue
            reason = f"{type(error).__name__}: {error}"
            sys.stderr.write(f"{model.file} cannot be built ({reason}); the log of its run has the traceback\n")


def check_unchanged(plan: Plan, data: dict[str, Any]) -> str:
    """Return the digest of the data set after checking that it has not changed since the experiment began.

    Args:
        plan: The experiment; its ``data.json`` is written if there is none.
        data: The data YAML's content with absolute paths.

    Raises:
        DataError: If images or labels have changed; names the splits.
    """
    from ..integration.queries import data_fingerprint  # start-up time

    now = msgspec.convert(data_fingerprint.fingerprint(data), DataFingerprint)
    before = read(plan.folder / "data.json", DataFingerprint)
    if before is None:
        write(plan.folder / "data.json", now)
    elif before.digest != now.digest:
        raise DataError(
            f"the data set {plan.data} has changed since the experiment in {plan.folder} began: "
            f"{'; '.join(before.changes(now))}. Restore it, or use another folder="
        )
    return now.digest


@contextlib.contextmanager
def alone(run: Run) -> Iterator[None]:
    """Lock the run's folder against another process that trains the same run, such as a second command.

    Raises:
        UserError: If another process holds it.
    """
    run.folder.mkdir(parents=True, exist_ok=True)
    with (run.folder / ".lock").open("a+") as file:
        if sys.platform != "win32":
            import fcntl

            end = time.monotonic() + PATIENCE
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the system unlocks it when the process ends
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
    """Train ``run`` (or resume its training), validate its best checkpoint and write its record."""
    from ..integration.queries import validation  # start-up time

    validation.check_training_arguments(plan.arguments)
    digest = check_unchanged(plan, validation.check_data(plan.data))
    training.train(plan, run)

    checkpoint = training.best_checkpoint(run)
    data = training.absolute(plan.data)
    result = validation.evaluate(checkpoint, data, plan.arguments, plan.split, run.folder / "validation")
    predictions = columns(result.predictions)
    info = TruthInfo(result.split, result.image_folder, result.annotation_file)
    truth = ground_truth_file.keep(plan, run.name, GroundTruth(info, **result.truth))
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
    """Return the epoch with the highest mAP50-95 on val; of equal ones the last, whose weights ``best.pt`` has.

    Early versions of Ultralytics choose by nine parts of mAP50-95 and one part of mAP50.
    """
    rated = [(value, row["epoch"]) for row in epochs if (value := row.get("metrics/mAP50-95(B)")) is not None]
    return int(max(rated)[1] or 0) if rated else None


def _arguments(plan: Plan, run: Run) -> dict[str, Any]:
    """Return the arguments of the training as Ultralytics completed them, without paths of this machine."""
    import yaml

    path = run.folder / "args.yaml"
    found = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else {}
    found = {key: value for key, value in found.items() if key not in PLACES}
    return dict(json_values({**found, **plan.arguments, "model": run.model, "data": plan.data}))


def _moment(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds).astimezone().isoformat(timespec="seconds")


if __name__ == "__main__":
    sys.exit(main())
