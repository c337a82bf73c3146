"""Perform an experiment with child processes that only pretend to train."""

from __future__ import annotations

import errno
import json
import os
import re
import socket
import subprocess
import sys
import time

import psutil
import pytest
from comparison import make, quiet
from made_up_experiment import empty_record
from support import read_json

from yolo_attn import atomic_files
from yolo_attn.comparison import child_processes, engines, worker
from yolo_attn.comparison.running import run_experiment
from yolo_attn.errors import ArgumentError, DataError, DiskFullError, UserError
from yolo_attn.experiment import storage
from yolo_attn.experiment.plan import Control
from yolo_attn.experiment.records import Progress


def log_of(plan):
    return (plan.folder / "log.txt").read_text().splitlines()


@pytest.mark.fast
def test_every_model_is_trained_once_with_every_seed_and_kept(tmp_path, pretend):
    plan, console = make(tmp_path / "c", models=["a.yaml"], seeds="0-1"), quiet()
    assert run_experiment(plan, console) == {}
    runs = [f"worker {name}" for name in ("yolo11n-seed0", "a-seed0", "yolo11n-seed1", "a-seed1")]
    assert log_of(plan) == ["worker", *runs, "cost_measurement"]
    assert "4 runs in" in console.file.getvalue()
    assert "printed by a-seed1" in (plan.folder / "a-seed1" / "log.txt").read_text()
    (plan.folder / "cost.json").unlink()
    assert run_experiment(plan, console) == {}
    assert log_of(plan)[6:] == ["cost_measurement"]
    assert "4 of 4 runs are finished" in console.file.getvalue()


def test_an_experiment_grows(tmp_path, pretend):
    run_experiment(make(tmp_path / "c"), quiet())
    plan, console = make(tmp_path / "c", seeds="0-1", controls=[Control("repeat", "yolo11n-repeat")]), quiet()
    run_experiment(plan, console)
    text = " ".join(console.file.getvalue().split())
    assert "2 of 6 runs are finished; new: seeds 1; controls yolo11n-repeat" in text
    assert [line for line in log_of(plan) if " " in line] == [f"worker {run.name}" for run in plan.runs]


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ([None, "ValueError: odd"], r"ValueError: odd \(.* .*a-seed0.log\.txt\)"),
        (["LayerError", "layer 3 cannot be built"], "layer 3 cannot be built"),
        ("silent", r".* status 3 .* .*a-seed0.log\.txt\)"),
        pytest.param(
            "killed", ".* SIGKILL, .* memory .*", marks=pytest.mark.skipif(sys.platform == "win32", reason="")
        ),
    ],
)
def test_a_failed_run_is_reported_and_the_others_continue(tmp_path, pretend, what, reason):
    plan, console = make(tmp_path / "c", models=["a.yaml", "b.yaml"]), quiet()
    pretend(a_seed0=what)
    ((name, given),) = run_experiment(plan, console).items()
    assert name == "a-seed0"
    assert re.fullmatch(reason, given)
    assert " ".join(given.split())[:30] in " ".join(console.file.getvalue().split())
    pretend()
    assert run_experiment(plan, quiet()) == {}
    names = ["yolo11n-seed0", "a-seed0", "b-seed0", "a-seed0"]
    assert [line for line in log_of(plan) if "-seed" in line] == [f"worker {name}" for name in names]


@pytest.mark.parametrize(
    ("where", "error", "log"),
    [
        ("yolo11n_seed0", DataError, ["worker", "worker yolo11n-seed0"]),
        ("yolo11n_seed0", DiskFullError, ["worker", "worker yolo11n-seed0"]),
        ("worker", ArgumentError, None),  # found before the first training: nothing is left
    ],
)
def test_an_error_that_concerns_every_run_ends_the_experiment(tmp_path, pretend, where, error, log):
    plan = make(tmp_path / "c")
    pretend(**{where: [error.__name__, "d.yaml: no labels"]})
    with pytest.raises(error, match=r"^d\.yaml: no labels$"):
        run_experiment(plan, quiet())
    assert (log_of(plan) if plan.folder.exists() else None) == log


def test_interruption_and_failed_measurement(tmp_path, pretend):
    pretend(v_seed0="interrupted")
    plan, console = make(tmp_path / "c", models=["v.yaml"]), quiet()
    with pytest.raises(KeyboardInterrupt):
        run_experiment(plan, console)
    assert "Interrupted. " in console.file.getvalue()
    pretend(cost_measurement=[None, "RuntimeError: no"])
    assert run_experiment(plan, console) == {}
    assert "No costs: RuntimeError: no" in console.file.getvalue()


@pytest.mark.parametrize(
    ("content", "values"),
    [(None, "experiment 0123456789ab"), ('{"format": 3}', r"record\.json has format 3; .*format 2\. .*delete it")],
)
def test_a_record_that_does_not_belong_here_is_refused_and_kept(tmp_path, pretend, content, values):
    plan = make(tmp_path / "c")
    plan.claim()
    record = plan.runs[1].record
    content = content or json.dumps(empty_record(plan, plan.runs[1]) | {"experiment": "0123456789ab"})
    record.parent.mkdir()
    record.write_text(content)
    with pytest.raises(DataError, match=values):
        run_experiment(plan, quiet())
    assert record.read_text() == content
    assert not (plan.folder / "log.txt").exists()


@pytest.fixture
def another_command(tmp_path, pretend):
    """Return a function that starts a command which trains a slow first run, and returns it and the run's process."""
    code = (
        "import sys; from yolo_attn.comparison import child_processes, running; from yolo_attn.experiment import plan; "
        "folder, script = sys.argv[1:]; "
        "child_processes.command = lambda *given: [sys.executable, script, *map(str, given)]; "
        "running.run_experiment(plan.Plan.load(folder))"
    )
    started = []

    def start(plan):
        pretend(yolo11n_seed0="slow")
        plan.claim()
        command = [sys.executable, "-c", code, str(plan.folder), str(tmp_path / "pretender.py")]
        process = subprocess.Popen(command, env=child_processes.child_environment(), stdout=subprocess.DEVNULL)
        started.append(process)
        pid, end = plan.runs[0].folder / "pid", time.monotonic() + 120
        while not pid.exists() or not pid.read_text():
            assert time.monotonic() < end
            time.sleep(0.05)
        return process, int(pid.read_text())

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.mark.skipif(sys.platform == "win32", reason="kills a process by signal")
def test_a_run_ends_when_the_experiment_is_killed(tmp_path, another_command):
    """Otherwise the next command would find the run's folder locked."""
    process, child = another_command(make(tmp_path / "c"))
    process.kill()
    process.wait()
    end = time.monotonic() + 120
    while psutil.pid_exists(child) and psutil.Process(child).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.skipif(sys.platform == "win32", reason="kills a process by signal; test_windows.py has the locks")
def test_a_second_command_says_what_the_first_one_runs_and_leaves_it_alone(tmp_path, another_command, pretend):
    plan, more = make(tmp_path / "c"), make(tmp_path / "c", seeds="0-1")
    first, _ = another_command(plan)
    before = {path: path.read_bytes() for path in plan.folder.rglob("*") if path.is_file()}
    for second in (plan, more, make(tmp_path / "c", arguments={"epochs": 9})):
        with pytest.raises(UserError) as caught:
            run_experiment(second, quiet())
        for part in (f"process {first.pid} on {socket.gethostname()}", "yolo11n-seed0 is running", "0 of 2 runs"):
            assert part in str(caught.value)
    assert {path: path.read_bytes() for path in plan.folder.rglob("*") if path.is_file()} == before
    first.kill()
    first.wait()
    pretend()
    assert run_experiment(more, console := quiet()) == {}
    assert "failed" not in console.file.getvalue()


@pytest.mark.skipif(sys.platform == "win32", reason="has other locks: test_windows.py")
def test_a_file_system_without_locks_is_said_and_used(tmp_path, pretend, monkeypatch, capsys):
    import fcntl

    def none(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", none)
    assert run_experiment(make(tmp_path / "c"), quiet()) == {}
    assert str(tmp_path / "c" / ".lock") in capsys.readouterr().err


@pytest.mark.fast
def test_progress_is_read_from_the_note_and_the_table(tmp_path):
    plan = make(tmp_path / "c", arguments={"epochs": 4})
    run = plan.runs[0]
    assert engines.read_progress(plan, run) == Progress("starting", 0, 4)
    run.folder.mkdir(parents=True)
    (run.folder / "results.csv").write_text("epoch,time\n1,5\n2,9\n")  # a training on several GPUs writes only this
    assert engines.read_progress(plan, run) == Progress("training", 2, 4)
    atomic_files.write_note(run.progress, storage.encode(Progress("training", 2, 4, 5, 10)))
    assert engines.read_progress(plan, run) == Progress("training", 2, 4, 5, 10)
    run.progress.write_text("{")
    assert engines.read_progress(plan, run) == Progress("training", 2, 4)


def test_a_worker_on_a_full_disk_says_so(tmp_path, monkeypatch, capsys):
    plan = make(tmp_path / "c")
    plan.claim()

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(worker, "check", full)
    assert worker.main([str(plan.folder)]) == 2
    assert read_json(plan.folder / "error.json")["error"] == "DiskFullError"
    monkeypatch.setattr(atomic_files.os, "fsync", full)  # not even the error can be written
    assert worker.main([str(plan.folder)]) == 2
    assert str(plan.folder) in capsys.readouterr().err
