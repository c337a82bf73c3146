"""What the tests of the Ray engine share: a child that pretends to train, and a watch that takes notes."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

from made_up_experiment import empty_record
from support import write_json

# ruff: noqa: T201

HEAD = "epoch,time,metrics/mAP50-95(B)\n"


def pretend(folder, name):
    """Pretend to be ``yolo_attn.comparison.worker``; the training argument ``pretend`` says what happens."""
    from yolo_attn.comparison.folder_locks import one_process
    from yolo_attn.comparison.worker import end_with_parent
    from yolo_attn.experiment.epochs import read_epochs
    from yolo_attn.experiment.plan import Plan

    end_with_parent()
    plan = Plan.load(folder)
    run, told = plan.run(name), plan.arguments["pretend"]
    print(f"{name} starts")
    with one_process(run):
        results = run.folder / "results.csv"
        done = len(read_epochs(results)) if (run.weights / "last.pt").is_file() else 0
        if not done:
            results.write_text(HEAD)
        with (run.folder / "starts.txt").open("a") as file:
            file.write(f"{json.dumps(_facts(plan, run, done))}\n")
        if name in told.get("fail", {}):
            kind, message = told["fail"][name]
            write_json(run.error, {"format": 1, "error": kind, "message": message})
            return 2 if kind else 1
        run.weights.mkdir(exist_ok=True)
        for epoch in range(done, plan.epochs):
            write_json(run.progress, {"format": 1, "phase": "training", "epoch": epoch, "epochs": plan.epochs})
            time.sleep(0.5 if name == told.get("slow") else told.get("seconds", 0.1))
            with results.open("a") as file:
                file.write(f"{epoch + 1},{epoch + 1}.0,0.{epoch + 1}\n")
            (run.weights / "last.pt").write_text("unfinished")
        (run.weights / "best.pt").write_bytes(b"best \x00 of " + name.encode())
        info = {"format": 1, "info": {"split": "val", "image_folder": "../images"}}
        write_json(plan.folder / "ground_truth.json", {**info, "images": [], "annotations": [], "categories": []})
        write_json(run.record, empty_record(plan, run))
    return 0


def _facts(plan, run, done):
    models = [model for model in (run.model_file, plan.data) if Path(model).is_file()]
    names = ("OMP_NUM_THREADS", "YOLO_ATTN_THREADS", "WANDB_RUN_GROUP", "CUDA_VISIBLE_DEVICES", "YOLO_OFFLINE")
    return {
        "done": done, "pid": os.getpid(), "parent": os.getppid(), "folder": str(plan.folder), "cwd": str(Path.cwd()),
        "files": models, "environment": {key: os.environ.get(key) for key in names},
    }  # fmt: skip


def starts(run):
    """What the child noted each time that it began; it may still be starting."""
    file = run.folder / "starts.txt"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


class Notes:
    """A watch; ``act`` is called on every progress with the run, the progress and these notes."""

    def __init__(self, act=None):
        self.act = act
        self.begun, self.done, self.reasons, self.where = [], [], {}, {}
        self.epochs = {}

    def started(self, run, where=""):
        self.begun.append(run.name)
        self.where[run.name] = where

    def progressed(self, run, progress):
        self.epochs[run.name] = progress.epoch
        if self.act:
            self.act(run, progress, self)

    def finished(self, run):
        self.done.append(run.name)

    def failed(self, run, reason):
        self.reasons[run.name] = reason


if __name__ == "__main__":
    sys.exit(pretend(*sys.argv[1:]))
