"""The child process of a comparison: trains and validates one run, and writes its record.

    python -m yolo_attn.compare.worker FOLDER RUN     train, validate, write RUN/record.json
    python -m yolo_attn.compare.worker FOLDER         check that the data and every model can be used

Exit status 0: done. 2: the user's mistake, one line in ``error.json``, no traceback. 1: anything else, its traceback
on stderr and its last line in ``error.json``. 130: interrupted.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from yolo_attn.compare import environment
from yolo_attn.compare.coco import figures, ground_truth
from yolo_attn.compare.plan import Plan, Run
from yolo_attn.compare.records import cut_epochs, read_epochs, read_json, write_json
from yolo_attn.errors import UserError, user_error_in

if TYPE_CHECKING:
    from yolo_attn.integration.evaluation import Stopped


def main(argv: list[str] | None = None) -> int:
    """Run the worker with ``[folder, run]`` or ``[folder]``; returns the exit status."""
    words = sys.argv[1:] if argv is None else argv
    plan = Plan.load(words[0])
    run = plan.run(words[1]) if len(words) > 1 else None
    report = run.error if run else plan.folder / "error.json"
    report.unlink(missing_ok=True)
    try:
        announce_layers()
        if run is None:
            check(plan)
        else:
            with alone(run), bad_data_refused():
                perform(plan, run)
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        mistake = user_error_in(error)
        if mistake is not None:
            write_mistake(report, mistake)
            return 2
        first = (str(error).strip().splitlines() or [""])[0]
        write_json(report, {"kind": None, "message": f"{type(error).__name__}: {first}".rstrip(": ")})
        raise
    return 0


def write_mistake(path: Path, error: UserError) -> None:
    """Leave a user's mistake where the parent finds it: its words, and which class of ``errors`` it is."""
    kind = next(cls.__name__ for cls in type(error).__mro__ if cls.__module__ == UserError.__module__)
    write_json(path, {"kind": kind, "message": " ".join(str(error).split())})


def announce_layers() -> None:
    """Make this package's layers known to Ultralytics in this process."""
    import yolo_attn

    yolo_attn.register()


def bad_data_refused() -> contextlib.AbstractContextManager[None]:
    """Refuse images and labels that Ultralytics would leave out, for the baseline as for the variants."""
    from yolo_attn.integration import datasets

    return datasets.strict()


def check(plan: Plan) -> None:
    """Refuse what would fail only after hours: a misspelt word, missing data, a model that is not there.

    Raises:
        UserError: The first thing that is wrong.
    """
    from yolo_attn.integration import evaluation

    evaluation.check_training_words(plan.train)
    data = evaluation.check_data(plan.data)
    if plan.split != "auto" and not data.get(plan.split):
        raise UserError(f"data {plan.data} has no split {plan.split}; use split=auto or another")
    for run in plan.runs:
        try:
            evaluation.open_model(run.model)
        except UserError:
            raise
        except Exception as error:  # a fault of the layer: its own run shows it in full, the others go on
            sys.stderr.write(f"{run.model} cannot be built ({type(error).__name__}: {error}); its run will say more\n")


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

            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # ends with the process, however it ends
            except OSError:
                file.seek(0)
                who = f"process {file.read().strip() or '?'}"
                raise UserError(f"{run.folder} is being trained by {who}; wait for it or end it") from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


def perform(plan: Plan, run: Run) -> None:
    """Train ``run`` (from where it stopped), validate its best checkpoint and write its record."""
    from yolo_attn.integration import evaluation

    evaluation.check_training_words(plan.train)
    evaluation.check_data(plan.data)
    train(plan, run)

    weights = run.folder / "weights"
    checkpoint = weights / "best.pt" if (weights / "best.pt").is_file() else weights / "last.pt"
    if not checkpoint.is_file():
        raise UserError(f"{run.model}: the training left no checkpoint in {weights}")
    result = evaluation.evaluate(checkpoint, _data(plan), plan.train, plan.split, run.folder / "validation")
    truth = ground_truth(result.images, result.boxes, result.names)
    write_json(run.folder / "ground_truth.json", truth, indent=None)
    write_json(run.folder / "predictions.json", result.predictions, indent=None)

    sessions = read_sessions(run)
    record = {
        "model": run.model,
        "run": run.name,
        "seed": run.seed,
        "train": plan.train,
        "arguments": _arguments(run),
        "model_yaml": getattr(evaluation.open_checkpoint(checkpoint), "yaml", None),
        "checkpoint": checkpoint.relative_to(run.folder).as_posix(),
        "git": environment.git_state(),
        "versions": environment.versions(),
        "hardware": environment.hardware(),
        "data": {
            "path": plan.data,
            "split": result.split,
            "split_reason": result.reason,
            "images": len(result.images),
            "boxes": len(result.boxes),
            "names": result.names,
        },
        "started": _moment(sessions[0]["started"]),
        "ended": _moment(time.time()),
        "sessions": len(sessions),
        "transferred": read_json(run.folder / "transfer.json"),
        "train_seconds": round(sum(s["ended"] - s["started"] for s in sessions), 1),
        "peak_memory": environment.peak_memory(),
        "epochs": read_epochs(run.folder / "results.csv"),
        "figures": {"ultralytics": result.ultralytics, "coco": figures(truth, result.predictions)},
    }
    write_json(run.record, record)


def train(plan: Plan, run: Run) -> None:
    """Train ``run``, or go on where its last checkpoint stands, or return if nothing is left to train.

    Raises:
        UserError: If the checkpoint would be continued in another folder, as this one has been moved.
    """
    from yolo_attn.integration import evaluation, pretrained

    words: dict[str, Any]
    checkpoint, stopped = find_checkpoint(run)
    _close_sessions(run)
    if stopped is not None and stopped.finished:
        return
    if stopped is not None:
        if Path(stopped.folder).resolve() != run.folder.resolve():
            raise UserError(
                f"{run.folder}: the unfinished training belongs into {stopped.folder}; "
                f"move the folder back, or delete {run.folder} to train it anew"
            )
        cut_epochs(run.folder / "results.csv", stopped.epoch)
        model, words = evaluation.open_model(str(checkpoint)), {"resume": True}
    else:
        if (run.folder / "weights").exists():
            sys.stderr.write(f"{run.folder}: no checkpoint can be read, the training starts anew\n")
        shutil.rmtree(run.folder / "weights", ignore_errors=True)
        for leftover in ("results.csv", "sessions.json", "transfer.json"):
            (run.folder / leftover).unlink(missing_ok=True)
        model, words = evaluation.open_model(run.model), {"plots": False, **plan.train}
        words |= {"data": _data(plan), "seed": run.seed}
        words |= {"project": str(run.folder.parent.resolve()), "name": run.name, "exist_ok": True}
    _open_session(run)
    with pretrained.watched() as loaded:
        if "resume" not in words:  # by then the model has its weights
            model.add_callback("on_train_start", lambda _: write_json(run.folder / "transfer.json", loaded()))
        model.train(**words)
    _close_sessions(run, time.time())


def find_checkpoint(run: Run) -> tuple[Path, Stopped | None]:
    """Return the checkpoint to go on from, and where it stands (None: there is none).

    That is ``last.pt``, or ``best.pt`` if the process was killed while it wrote ``last.pt``: Ultralytics overwrites
    it in place, and until the training ends both can be resumed.
    """
    from yolo_attn.integration import evaluation

    last, best = run.folder / "weights" / "last.pt", run.folder / "weights" / "best.pt"
    stopped = evaluation.read_stop(last)
    return (last, stopped) if stopped is not None else (best, evaluation.read_stop(best))


def read_sessions(run: Run) -> list[dict[str, float]]:
    """Return when the processes that trained ``run`` started and ended, seconds since 1970; more than one: resumed."""
    return read_json(run.folder / "sessions.json") or []


def _open_session(run: Run) -> None:
    write_json(run.folder / "sessions.json", [*read_sessions(run), {"started": time.time(), "ended": None}])


def _close_sessions(run: Run, now: float | None = None) -> None:
    """End the open session, at the last epoch it finished if nobody saw it end."""
    sessions = read_sessions(run)
    if not sessions or sessions[-1]["ended"] is not None:
        return
    if now is None:
        table = run.folder / "results.csv"
        now = table.stat().st_mtime if table.is_file() else 0.0
    sessions[-1]["ended"] = max(now, sessions[-1]["started"])
    write_json(run.folder / "sessions.json", sessions)


def _data(plan: Plan) -> str:
    """Return the data set's path for the checkpoint, which may be resumed from another working directory."""
    path = Path(plan.data)
    return str(path.resolve()) if path.is_file() else plan.data


def _arguments(run: Run) -> dict[str, Any]:
    """Return every argument of the training, as Ultralytics filled them in."""
    import yaml

    path = run.folder / "args.yaml"
    return yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _moment(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds).astimezone().isoformat(timespec="seconds")


if __name__ == "__main__":
    sys.exit(main())
