"""Perform an experiment with child processes that only pretend to train."""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
import sys
import time

import psutil
import pytest
from comparison import make, quiet
from made_up_experiment import cost, empty_record
from support import read_json

from yolo_attn import atomic_files
from yolo_attn.comparison import child_processes, engines, worker
from yolo_attn.comparison.running import run_experiment
from yolo_attn.errors import ArgumentError, DataError, DiskFullError
from yolo_attn.experiment import storage
from yolo_attn.experiment.plan import Control
from yolo_attn.experiment.records import Progress

PRETENDER = """
import json, os, signal, sys, time
from pathlib import Path
module, folder, *name = sys.argv[1:]
folder, module = Path(folder), module.rsplit(".", 1)[1]
with (folder / "log.txt").open("a") as log:
    log.write(" ".join([module, *name]) + "\\n")
instructions = json.loads(os.environ["INSTRUCTIONS"])
what = instructions.get(name[0] if name else module, "good")
target = folder / name[0] if name else folder
target.mkdir(exist_ok=True)
print("printed by", *name)
templates = json.loads(Path(__file__).with_suffix(".json").read_text())
plan = json.loads((folder / "plan.json").read_text())
if what == "good" and name:
    (target / "record.json").write_text(json.dumps({**templates["record"], "experiment": plan["id"], "run": name[0]}))
elif what == "good" and module == "cost_measurement":
    (folder / "cost.json").write_text(json.dumps(templates["cost"]))
elif what == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
elif what == "interrupted":
    sys.exit(130)
elif what == "silent":
    sys.exit(3)
elif what == "slow":
    (target / "progress.json").write_text(json.dumps({"format": 1, "phase": "training", "epoch": 1, "epochs": 3}))
    (target / "pid").write_text(str(os.getpid()))
    from yolo_attn.comparison import worker
    worker.end_with_parent()
    time.sleep(30)
elif what != "good":
    error, message = what
    (target / "error.json").write_text(json.dumps({"format": 1, "error": error, "message": message}))
    sys.exit(2 if error else 1)
"""


@pytest.fixture
def pretend(tmp_path, monkeypatch):
    """Return a function that tells the children, by name of the run or module, what to do; a record by default."""
    script, plan = tmp_path / "pretender.py", make(tmp_path / "template")
    script.write_text(PRETENDER)
    templates = {"record": empty_record(plan, plan.runs[0]), "cost": cost(plan)}
    script.with_suffix(".json").write_text(json.dumps(templates))
    monkeypatch.setattr(child_processes, "command", lambda *given: [sys.executable, str(script), *map(str, given)])
    monkeypatch.setattr(engines, "POLL", 0.05)

    def tell(**instructions):
        named = {name.replace("_seed", "-seed"): what for name, what in instructions.items()}
        monkeypatch.setenv("INSTRUCTIONS", json.dumps(named))

    tell()
    return tell


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
        ("silent", r".* status 3 .* .*a-seed0.log\.txt"),
        pytest.param("killed", ".* SIGKILL; .* memory", marks=pytest.mark.skipif(sys.platform == "win32", reason="")),
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
        ("worker", ArgumentError, ["worker"]),  # found before the first training
    ],
)
def test_an_error_that_concerns_every_run_ends_the_experiment(tmp_path, pretend, where, error, log):
    plan = make(tmp_path / "c")
    pretend(**{where: [error.__name__, "d.yaml: no labels"]})
    with pytest.raises(error, match=r"^d\.yaml: no labels$"):
        run_experiment(plan, quiet())
    assert log_of(plan) == log


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
    [(None, "experiment 0123456789ab"), ('{"format": 3}', r"record\.json has format 3; .*format 1\. .*delete it")],
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


@pytest.mark.skipif(sys.platform == "win32", reason="kills a process by signal")
def test_a_run_ends_when_the_experiment_is_killed(tmp_path, pretend):
    """Otherwise the next command would find the run's folder locked."""
    plan = make(tmp_path / "c")
    pretend(yolo11n_seed0="slow")
    code = (
        "import sys; from yolo_attn.comparison import child_processes, running; from yolo_attn.experiment import plan; "
        "folder, script = sys.argv[1:]; "
        "child_processes.command = lambda *given: [sys.executable, script, *map(str, given)]; "
        "running.run_experiment(plan.Plan.load(folder))"
    )
    plan.claim()
    command = [sys.executable, "-c", code, str(plan.folder), str(tmp_path / "pretender.py")]
    process = subprocess.Popen(command, env=child_processes.child_environment(), stdout=subprocess.DEVNULL)
    pid, end = plan.runs[0].folder / "pid", time.monotonic() + 30
    while not pid.exists() or not pid.read_text():
        assert time.monotonic() < end
        time.sleep(0.05)
    child = int(pid.read_text())
    process.kill()
    process.wait()
    while psutil.pid_exists(child) and psutil.Process(child).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < end
        time.sleep(0.05)


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
