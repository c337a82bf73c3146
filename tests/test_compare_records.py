"""The files of an experiment: formats, Ultralytics' table of epochs, checkpoints after a kill, sessions."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from comparison import make
from msgspec.structs import replace

from yolo_attn.comparison import child_processes, folder_locks, training, worker
from yolo_attn.errors import DataError, UserError
from yolo_attn.experiment import epochs, storage
from yolo_attn.experiment.ground_truth_file import GroundTruth, TruthInfo, keep
from yolo_attn.experiment.records import PeakMemory, RunError
from yolo_attn.integration.queries.validation import Stopped, read_stop

pytestmark = pytest.mark.fast


def test_values_that_json_does_not_know(tmp_path):
    numbers = {"nan": float("nan"), "inf": [np.float64("inf"), np.int64(1)], "array": np.ones(2), "path": Path("a")}
    assert storage.json_values(numbers) == {"nan": None, "inf": [None, 1], "array": [1, 1], "path": "a"}


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ('{"format": 3, "message": "x"}', r"error.json has format 3; .* reads format 1\."),
        ('{"message": "x"}', "error.json has no format number; .* reads format 1"),
        ('{"format": 1}', "error.json .*`message`"),
        ('{"format": 1, "message": 5}', "error.json .*`int`.* at message"),
        ('{"format": 1, "message": "x", "kind": "y"}', "error.json .*`kind`"),
        ('{"format": "new"}', "error.json .* at format"),
        ('{"format": 1, "mess', "error.json cannot be read"),
        ("[1]", "error.json .*`array`"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_in_one_line(tmp_path, text, values):
    path = tmp_path / "error.json"
    path.write_text(text)
    with pytest.raises(DataError, match=values) as caught:
        storage.read(path, RunError)
    assert "\n" not in str(caught.value)
    assert "delete it" in str(caught.value)


def test_epochs_are_read_from_both_layouts(tmp_path):
    path = tmp_path / "results.csv"
    path.write_text("                  epoch,      metrics/mAP50(B)\n                      1,                  0.25\n")
    assert epochs.read_epochs(path) == [{"epoch": 1.0, "metrics/mAP50(B)": 0.25}]
    path.write_text("epoch,time,m\n1,2.5,0.1\n2,5,nan\n2,2.1,0.3\n3,4.0")  # epoch 2 twice, epoch 3 cut off
    assert epochs.read_epochs(path) == [
        {"epoch": 1.0, "time": 2.5, "m": 0.1},
        {"epoch": 2.0, "time": 2.1, "m": 0.3},
    ]
    assert epochs.read_epochs(tmp_path / "none.csv") == []


def test_epochs_after_the_checkpoint_are_cut(tmp_path):
    path = tmp_path / "results.csv"
    path.write_text("epoch,m\n1,0.1\n2,0.2\n3,0.3\n4")
    epochs.cut_epochs(path, 2)
    assert path.read_text() == "epoch,m\n1,0.1\n2,0.2\n"
    epochs.cut_epochs(tmp_path / "none.csv", 2)
    assert not (tmp_path / "none.csv").exists()


@pytest.fixture
def run(tmp_path):
    found = make(tmp_path).runs[0]
    found.weights.mkdir(parents=True)
    return found


def save(run, name, epoch, fitness=None, optimizer=True):
    """Write a checkpoint as Ultralytics does, or half of one if ``epoch`` is None."""
    path, arguments = run.weights / name, {"epochs": 9, "save_dir": "x"}
    if epoch is None:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        return
    content = {"epoch": epoch, "best_fitness": fitness, "optimizer": {} if optimizer else None, "train_args": arguments}
    torch.save(content, path)


def found(run):
    """Name and epochs of the checkpoint to resume from."""
    path, stopped = training.find_checkpoint(run)
    return stopped and (path.name, stopped.epoch)


def test_a_checkpoint_torn_while_written_is_not_the_end(run):
    assert found(run) is None
    save(run, "best.pt", 4)
    save(run, "last.pt", 6)
    assert training.find_checkpoint(run) == (run.weights / "last.pt", Stopped(7, 9, False, "x"))
    save(run, "last.pt", None)
    assert found(run) == ("best.pt", 5)
    save(run, "best.pt", None)
    assert found(run) is None


@pytest.mark.parametrize(
    ("epoch", "optimizer"),
    [(-1, False), (8, True)],  # stripped; killed during the final validation: resumed, it would train a tenth epoch
)
def test_a_training_that_has_ended_is_not_resumed(run, epoch, optimizer):
    save(run, "last.pt", epoch, optimizer=optimizer)
    assert read_stop(run.weights / "last.pt") == Stopped(9, 9, True, "x")


def test_the_previous_checkpoint_is_there_while_the_next_is_written(run):
    last, seen = run.weights / "last.pt", []

    def save_model():
        seen.append((last.exists(), found(run)))
        if len(seen) < 4:
            save(run, "last.pt", len(seen))
        return len(seen) < 4

    trainer = SimpleNamespace(save_model=save_model)
    training.keep_previous(run, trainer)
    save(run, "best.pt", 0)
    for epoch in (2, 3, 4):  # between two saves last.pt stays: Ultralytics returns to it from a NaN
        assert trainer.save_model()
        assert found(run) == ("last.pt", epoch)
    assert trainer.save_model() is False  # Ultralytics does not save weights with NaN
    assert found(run) == ("last.pt", 4)
    # while a save goes on, the checkpoint before is there, not only best.pt of three epochs ago
    assert seen == [(False, ("best.pt", 1)), *((False, ("previous.pt", epoch)) for epoch in (2, 3, 4))]


def test_the_best_checkpoint_is_repaired(run):
    def best():
        training.repair_best(run, *training.find_checkpoint(run))
        return torch.load(run.weights / "best.pt", weights_only=False)["epoch"]

    save(run, "last.pt", 0, 0.1)
    assert best() == 0  # killed before it was written for the first time
    save(run, "last.pt", 3, 0.1)
    assert best() == 0  # epoch 1 is still the best
    save(run, "last.pt", 4, 0.3)
    assert best() == 4  # killed between the two
    save(run, "best.pt", None)
    assert best() == 4  # or in the middle of it
    save(run, "last.pt", None)
    assert best() == 4  # is all there is
    save(run, "last.pt", 8, 0.3)
    training.keep_best(run, SimpleNamespace(stop=False, epoch=7, epochs=9))
    assert not (run.weights / "best_copy.pt").exists()
    training.keep_best(run, SimpleNamespace(stop=True, epoch=7, epochs=9))
    save(run, "last.pt", -1, optimizer=False)  # the training has ended
    save(run, "best.pt", None)
    assert best() == 4
    training._remove_copies(run)
    assert sorted(path.name for path in run.weights.iterdir()) == ["best.pt", "last.pt"]


def test_the_best_epoch_is_the_last_of_equal_ones_as_in_best_pt():
    key = "metrics/mAP50-95(B)"
    assert worker.best_epoch([{"epoch": 1.0, key: 0.1}, {"epoch": 2.0, key: 0.3}, {"epoch": 3.0, key: 0.3}]) == 3
    assert worker.best_epoch([{"epoch": 1.0, key: 0.3}, {"epoch": 2.0, key: None}, {"epoch": 3.0, key: 0.2}]) == 1
    assert worker.best_epoch([{"epoch": 1.0}]) is None


def test_another_runs_ground_truth_must_be_the_same(tmp_path):
    plan = make(tmp_path / "c")
    path = str(tmp_path / "images")
    truth = GroundTruth(TruthInfo("test", path), [{"id": 1, "file_name": "a", "height": 1, "width": 1}], [], [])
    assert keep(plan, "a-seed0", truth).info.image_folder == "../images"
    moved = replace(truth, info=TruthInfo("test", "/elsewhere"))
    assert keep(plan, "b-seed0", moved).info.image_folder == "../images"
    with pytest.raises(DataError, match=r"b-seed0 was validated on other images .*ground_truth\.json.* has changed"):
        keep(plan, "b-seed0", replace(truth, images=[]))


def test_sessions_keep_time_and_memory_up_to_the_last_epoch_of_a_killed_process(run):
    training._open_session(run)
    (session,) = training.read_sessions(run)
    assert session.ended is None
    assert session.versions["ultralytics"]
    training._close_session(run, session.started + 40)  # after an epoch; then the process is killed
    training._close_session(run)
    training._open_session(run)
    training._close_session(run, time.time() + 5)
    first, second = training.read_sessions(run)
    assert first.ended - first.started == pytest.approx(40)
    assert first.peak_memory.resident_bytes > 10**7
    assert second.ended - second.started == pytest.approx(5, abs=0.5)
    peaks = [replace(first, peak_memory=peak) for peak in (PeakMemory(7), PeakMemory(9), None)]
    assert training.peak_memory(peaks) == PeakMemory(9, None)


def test_time_of_an_epoch_is_not_confused_by_a_resumption():
    times = [20.0, 30.0, 41.0, 12.0, 22.0]  # the fourth epoch is the first of a second session
    assert training.epoch_seconds([{"epoch": i, "time": t} for i, t in enumerate(times)]) == 10.0
    assert training.epoch_seconds([{"epoch": 1, "time": 20.0}]) is None
    assert training.epoch_seconds([{"epoch": 1}, {"epoch": 2}]) is None


def test_a_run_is_trained_by_one_process_at_a_time(run, monkeypatch):
    monkeypatch.setattr(folder_locks, "PATIENCE", 0.3)
    lock = folder_locks.one_process
    with lock(run), pytest.raises(UserError, match=f"process {os.getpid()} on "), lock(run):
        pass
    with lock(run):
        pass


LIGHT = (
    "comparison.running", "comparison.engines", "comparison.ray.cluster_engine", "comparison.ray.node_run",
    "comparison.worker", "comparison.training", "experiment.folder_contents", "experiment.experiment_file",
    "metrics.tide_errors", "statistics", "report.compare_models", "cli.report",
)  # fmt: skip


def test_reading_and_drawing_import_no_torch():
    code = f"import importlib, sys\nfor name in {LIGHT}: importlib.import_module(f'yolo_attn.{{name}}')\n"
    code += "print(*{'torch', 'ultralytics', 'ray', 'matplotlib', 'yaml'} & {*sys.modules})"
    environment = child_processes.child_environment()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.split() in ([], ["yaml"])
