"""Kill a run (SIGKILL) at the worst moments, and resume it. It really trains, so it is slow."""

from __future__ import annotations

import re
import sys

import pytest
import torch
from comparison import make
from ray_grids import Notes
from ultralytics import YOLO

from yolo_attn.comparison import child_processes, engines
from yolo_attn.experiment import records
from yolo_attn.experiment.epochs import read_epochs

# The run's own process, with one function replaced by one that kills it.
KILLER = """
import os, signal, sys
from pathlib import Path

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

moment, module, *given = sys.argv[1:]
sys.argv[1:] = given
from yolo_attn.comparison import training, worker
import yolo_attn; yolo_attn.install()

if moment == "second epoch":
    original = training._ProgressNotes.batch
    def batch(self, trainer):
        if trainer.epoch == 1:
            die()
        original(self, trainer)
    training._ProgressNotes.batch = batch
elif moment in ("half a checkpoint", "half a best"):
    from ultralytics.engine.trainer import BaseTrainer
    original_save = BaseTrainer.save_model
    def save_model(self):
        original_save(self)
        if moment == "half a checkpoint" and self.epoch == 2:
            whole = Path(self.last).read_bytes()
            Path(self.last).write_bytes(whole[: len(whole) // 2])
            die()
        if moment == "half a best" and self.epoch == 1:  # as if this epoch were the best, and best.pt half written
            import torch
            checkpoint = torch.load(self.last, map_location="cpu", weights_only=False)
            checkpoint["best_fitness"] = 0.5
            torch.save(checkpoint, self.last)
            Path(self.best).write_bytes(b"half")
            die()
    BaseTrainer.save_model = save_model
elif moment == "half a stripped best":
    from ultralytics.engine import trainer
    strip = trainer.strip_optimizer
    def strip_optimizer(f, *args, **kwargs):
        if Path(f).name == "best.pt":
            Path(f).write_bytes(b"half")
            die()
        return strip(f, *args, **kwargs)
    trainer.strip_optimizer = strip_optimizer
elif moment == "before the validation":
    training.best_checkpoint = die
elif moment == "half a record":
    os_fsync = os.fsync
    def fsync(number):
        if "record.json" in os.readlink(f"/proc/self/fd/{number}"):
            die()
        os_fsync(number)
    os.fsync = fsync
sys.exit(worker.main())
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="kills a process by signal and reads /proc")
def test_a_run_killed_again_and_again_arrives_where_it_would_have(tmp_path, rectangles, monkeypatch):
    YOLO("yolo11n.yaml").save(tmp_path / "weights.pt")
    arguments = {"epochs": 4, "imgsz": 64, "batch": 8, "device": "cpu", "workers": 0}
    arguments |= {"pretrained": str(tmp_path / "weights.pt")}
    plan = make(tmp_path / "c", models=["yolo11n-ema.yaml"], data=str(rectangles), seeds=3, arguments=arguments)
    plan.claim()
    run = plan.run("yolo11n-ema-seed3")
    script = tmp_path / "killer.py"
    script.write_text(KILLER)
    real = child_processes.command

    def attempt(moment):
        def command(module, *given):
            return [sys.executable, str(script), moment, module, *map(str, given)]

        monkeypatch.setattr(child_processes, "command", command if moment else real)
        engines.OneByOne().perform(plan, [run], notes := Notes())
        return notes.reasons.get(run.name)

    epochs = []
    moments = ("second epoch", "half a best", "half a checkpoint", "half a stripped best", "before the validation")
    for moment in (*moments, "half a record"):
        reason = attempt(moment)
        assert "SIGKILL" in reason, run.log.read_text()
        assert not run.record.exists()  # never counted
        epochs.append(read_epochs(run.folder / "results.csv"))
    # Killed in epoch 2 after one checkpoint; after epoch 2; in epoch 3 with half a checkpoint; at the end.
    assert [len(rows) for rows in epochs] == [1, 2, 3, 4, 4, 4]
    assert epochs[5][0] == epochs[0][0]  # its time too: the first epoch was trained once
    assert epochs[3] == epochs[5]  # nothing was trained again once the training had ended
    assert list(run.folder.glob(".record.json-*.part"))  # the half record that the last kill left

    assert attempt(None) is None
    record = records.read_record(run.record, plan.id)
    assert [row["epoch"] for row in record.epochs] == [1, 2, 3, 4]
    assert record.epochs == epochs[5]
    assert record.sessions == 4  # the last attempts had nothing to train
    best = torch.load(run.folder / "weights" / "best.pt", map_location="cpu", weights_only=False)
    assert best["best_fitness"] == 0.5  # that of epoch 2, which was torn twice
    arrived = re.match(r"transferred (\d+)/499 tensors of the source", record.transfer)
    assert int(arrived[1]) > 440  # of the first session, kept
    assert record.peak_memory.resident_bytes > 10**7
    assert record.training_seconds > 0
    assert sorted(path.name for path in (run.folder / "weights").iterdir()) == ["best.pt", "last.pt"]
    assert "no checkpoint can be read" not in run.log.read_text()
