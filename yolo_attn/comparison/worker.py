"""The child process that trains and validates one run, and writes its record.

    python -m yolo_attn.comparison.worker FOLDER RUN     train, validate, write RUN/record.json
    python -m yolo_attn.comparison.worker FOLDER         check that the data and every model can be used

Exit status 0: done. 2: invalid input; ``error.json`` has the message. 1: a fault; the traceback is on stderr and its
last line in ``error.json``. 130: interrupted.
"""

from __future__ import annotations

import datetime
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from ..errors import ArgumentError, DataError, UserError, described, user_error_in
from ..experiment import ground_truth_file
from ..experiment.data_set_file import DataFingerprint, Pairing
from ..experiment.epochs import Epoch, read_epochs
from ..experiment.ground_truth_file import GroundTruth, TruthInfo
from ..experiment.plan import Plan, Run
from ..experiment.records import EvaluatedData, Metrics, Record, RunError, Transfer
from ..experiment.storage import json_values, read, write
from ..integration import install
from ..integration.strict_mode import strict
from ..messages import counted, joined
from ..metrics import columns, compute_metrics
from . import folder_locks, model_checks, training

# Arguments with paths of this machine.
PLACES = ("project", "name", "save_dir", "exist_ok", "resume")
_SYNCHRONIZE, _INFINITE = 0x00100000, 0xFFFFFFFF  # of the Windows API: the right to wait for a process, without end


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
                with folder_locks.one_process(run):
                    perform(plan, run)

    return exit_status(work, run.folder if run else plan.folder)


def exit_status(work: Callable[[], None], folder: Path) -> int:
    """Do the work of a child process and return its exit status.

    Args:
        work: What to do, with this package installed.
        folder: Where ``error.json`` is written if it fails.
    """
    report = folder / "error.json"
    try:
        install()
        work()
    except KeyboardInterrupt:
        return 130
    except BaseException as error:
        mistake = user_error_in(error, folder)
        line = described(mistake or error)
        kind = next((cls.__name__ for cls in type(mistake).__mro__ if cls.__module__ == UserError.__module__), None)
        try:
            write(report, RunError(line, kind))
        except UserError:  # nothing can be written there: the process that started this one finds the same
            if "YOLO_ATTN_PARENT" not in os.environ:
                sys.stderr.write(f"{line}\n")
        if mistake is None:
            raise
        return 2
    return 0


def end_with_parent() -> None:
    """End this process soon after the process that started it: without that one, nobody waits for the run."""
    parent = os.environ.get("YOLO_ATTN_PARENT")
    if parent is None:
        return

    def watch() -> None:
        _wait_for_end(int(parent))
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _wait_for_end(parent: int) -> None:
    """Return when the process ``parent``, which started this one, has ended."""
    if sys.platform == "win32":  # a virtual environment's launcher stands between the two, so getppid is another one
        import ctypes

        kernel = ctypes.WinDLL("kernel32")
        kernel.OpenProcess.restype = ctypes.c_void_p
        if handle := kernel.OpenProcess(_SYNCHRONIZE, False, parent):  # None: it has ended
            kernel.WaitForSingleObject(ctypes.c_void_p(handle), _INFINITE)
        return
    while os.getppid() == parent:
        time.sleep(0.5)


def check(plan: Plan) -> None:
    """Check what would fail only after hours: misspelt arguments, missing or changed data, models that do not build.

    Raises:
        UserError: The first error found.
    """
    from ..integration.queries import data_checks, seed_pairing, yolo_command  # start-up time

    yolo_command.check_arguments(plan.arguments)
    yolo_command.check_device(plan.arguments.get("device"))
    data = _data_of(plan)
    if plan.split != "auto" and not data.get(plan.split):
        raise UserError(f"data {plan.data} has no split {plan.split}; use split=auto or another split")
    _check_classes(plan, data)
    data_checks.check_labels(data)
    _keep_fingerprint(plan, data)
    write(plan.folder / "pairing.json", Pairing(seed_pairing.seeds_reach_workers(), seed_pairing.describe()))
    model_checks.check_models(plan)


def _check_classes(plan: Plan, data: dict[str, Any]) -> None:
    from ..integration.queries.yaml_files import listed  # start-up time

    chosen = plan.arguments.get("classes")
    unknown = [number for number in listed(chosen) if number not in data["names"]]
    if chosen is not None and unknown:
        raise ArgumentError(f"classes={joined(unknown)}: the data set {plan.data} has 0 to {len(data['names']) - 1}")


def _data_of(plan: Plan) -> dict[str, Any]:
    """Return the data YAML's content, after a change to files of this machine that Ultralytics would rewrite."""
    from ..integration.queries import jpeg_repair, validation  # start-up time

    data = validation.check_data(plan.data)
    jpeg_repair.repair(data)
    return data


def _keep_fingerprint(plan: Plan, data: dict[str, Any]) -> None:
    """Keep the data set's fingerprint with what is wrong with it, which Ultralytics' log shows."""
    from ..integration.queries import annotation_checks, split_checks  # start-up time

    found = split_checks.check(data)
    warnings = [*found.warnings, *annotation_checks.check(data)]
    if not plan.has_trained:
        (plan.folder / "data.json").unlink(missing_ok=True)  # until then the data set may be corrected
    check_unchanged(plan, data)
    kept = read(plan.folder / "data.json", DataFingerprint)
    assert kept is not None, "check_unchanged keeps it"
    splits = {
        name: msgspec.structs.replace(split, shared=found.shared.get(name, 0)) for name, split in kept.splits.items()
    }
    write(plan.folder / "data.json", msgspec.structs.replace(kept, warnings=warnings, splits=splits))


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


def perform(plan: Plan, run: Run) -> None:
    """Train ``run`` (or resume its training), validate its best checkpoint and write its record."""
    from ..integration.queries import validation, yolo_command  # start-up time

    yolo_command.check_arguments(plan.arguments)
    plan.check_files()
    digest = check_unchanged(plan, _data_of(plan))
    kept = read(plan.folder / "data.json", DataFingerprint)
    training.train(plan, run)

    checkpoint = training.best_checkpoint(run)
    data = training.absolute(plan.data)
    result = validation.evaluate(checkpoint, data, plan.arguments, plan.split, run.folder / "validation")
    predictions = columns(result.predictions)
    info = TruthInfo(result.split, result.image_folder, result.annotation_file)
    truth = ground_truth_file.keep(plan, run.name, GroundTruth(info, **result.truth))
    try:
        metrics = compute_metrics(truth.coco, predictions)
    except DataError as error:  # of this model, not of the data set
        raise UserError(f"{run.model_file}: {error}") from None
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
            split_reason=_reason(result.split, result.reason, kept),
            images=len(result.images),
            boxes=len(result.boxes),
            class_names=result.names,
            digest=digest,
            warnings=kept.warnings if kept else [],
            annotation_boxes=sum(not entry["iscrowd"] for entry in result.truth["annotations"])
            if result.annotation_file
            else None,
        ),
        started=_moment(sessions[0].started),
        ended=_moment(time.time()),
        sessions=len(sessions),
        resumed_versions=[session.versions for session in sessions[1:]],
        transfer=transfer.line if transfer else None,
        weights_digest=plan.digests().get(str(plan.arguments.get("pretrained"))),
        findings=model_checks.findings_of(run.model_file),
        training_seconds=round(sum((session.ended or session.started) - session.started for session in sessions), 1),
        epoch_seconds=training.epoch_seconds(epochs),
        peak_memory=training.peak_memory(sessions),
        epochs=epochs,
        best_epoch=best_epoch(epochs),
        metrics=Metrics(coco=metrics, ultralytics={**result.ultralytics}),
        predictions=predictions,
    )
    write(run.record, record)


def _reason(split: str, reason: str, data: DataFingerprint | None) -> str:
    """Return why a split was used, and how many images of a test split are not new."""
    found = data.splits.get(split) if data else None
    if split != "test" or found is None or not found.shared:
        return reason
    return f"{reason}, but it shares {found.shared} of its {counted(found.images, 'image')} with train or val"


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
