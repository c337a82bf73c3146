"""Performing a comparison, with children that only pretend to train."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from comparison import make, quiet
from made_up_experiment import empty_record
from support import read_json

from yolo_attn import atomic_files
from yolo_attn.atomic_files import write_note
from yolo_attn.comparison import child_processes, engines, worker
from yolo_attn.comparison.running import run_experiment
from yolo_attn.errors import ArgumentError, DataError, DiskFullError, disk_full
from yolo_attn.experiment import storage
from yolo_attn.experiment.plan import Control
from yolo_attn.experiment.records import Progress, RunError

PRETENDER = """
import json, os, signal, sys, time
from pathlib import Path
module, folder, *name = sys.argv[1:]
folder = Path(folder)
log = (folder / "log.txt").open("a")
log.write(" ".join([module.rsplit(".", 1)[1], *name]) + "\\n")
log.close()
behaviour = json.loads(os.environ["BEHAVIOUR"])
what = behaviour.get(name[0] if name else module.rsplit(".", 1)[1].replace("_", "-") + "!", "good")
target = folder / name[0] if name else folder
target.mkdir(exist_ok=True)
print("printed by", *name)
if what == "good" and name:
    from made_up_experiment import empty_record
    from support import write_json
    from yolo_attn.experiment.plan import Plan
    plan = Plan.load(folder)
    write_json(target / "record.json", empty_record(plan, plan.run(name[0])))
elif what == "good" and module.endswith("measurement"):
    from made_up_experiment import cost
    from support import write_json
    from yolo_attn.experiment.plan import Plan
    write_json(folder / "cost.json", cost(Plan.load(folder)))
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
    kind, message = what
    (target / "error.json").write_text(json.dumps({"format": 1, "error": kind, "message": message}))
    sys.exit(2 if kind else 1)
"""


@pytest.fixture
def pretend(tmp_path, monkeypatch):
    """Children that write a record, an error or nothing, as told; returns what tells them."""
    script = tmp_path / "pretender.py"
    script.write_text(PRETENDER)
    monkeypatch.setattr(child_processes, "command", lambda *words: [sys.executable, str(script), *map(str, words)])
    monkeypatch.setattr(engines, "POLL", 0.05)

    def tell(**behaviour):
        monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
        monkeypatch.setenv("BEHAVIOUR", json.dumps({key.replace("_", "-"): what for key, what in behaviour.items()}))

    tell()
    return tell


def log_of(plan):
    return (plan.folder / "log.txt").read_text().split("\n")[:-1]


def test_every_model_is_trained_once_with_every_seed_and_kept(tmp_path, pretend):
    plan = make(tmp_path / "c", models=["a.yaml"], seeds="0-1")
    console = quiet()
    assert run_experiment(plan, console) == {}
    everything = [
        "worker",
        "worker yolo11n-seed0",
        "worker a-seed0",
        "worker yolo11n-seed1",
        "worker a-seed1",
        "cost_measurement",
    ]
    assert log_of(plan) == everything
    assert "Comparison of 4 runs in" in console.file.getvalue()
    assert "printed by a-seed1" in (plan.folder / "a-seed1" / "log.txt").read_text()
    (plan.folder / "cost.json").unlink()
    console = quiet()
    run_experiment(plan, console)
    assert log_of(plan)[:6] == everything
    assert "worker" not in " ".join(log_of(plan)[6:])  # nothing was run again
    assert "4 of 4 runs are finished" in console.file.getvalue()


def test_a_comparison_grows(tmp_path, pretend):
    run_experiment(make(tmp_path / "c"), quiet())
    plan = make(tmp_path / "c", seeds="0-1", controls=[Control("repeat", "yolo11n-repeat")])
    console = quiet()
    run_experiment(plan, console)
    assert "2 of 6 runs are finished; new: seeds 1; controls yolo11n-repeat" in " ".join(
        console.file.getvalue().split()
    )
    assert [line for line in log_of(plan) if " " in line] == [
        f"worker {name}"
        for name in ("yolo11n-seed0", "yolov8n-seed0", "yolo11n-repeat-seed1000", "yolo11n-seed1", "yolov8n-seed1",
                     "yolo11n-repeat-seed1001")
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ([None, "ValueError: odd"], r"ValueError: odd \(in full in .*a-seed0.log\.txt\)"),
        (["LayerError", "layer 3 cannot be built"], "layer 3 cannot be built"),
        ("silent", r"its process ended with status 3 .* is in .*a-seed0.log\.txt"),
        pytest.param(
            "killed",
            "its process was ended by SIGKILL; the system may have run out of memory",
            marks=pytest.mark.skipif(sys.platform == "win32", reason="no signals"),
        ),
    ],
)
def test_a_failed_run_is_reported_and_the_others_go_on(tmp_path, pretend, what, reason):
    plan = make(tmp_path / "c", models=["a.yaml", "b.yaml"])
    console = quiet()
    pretend(a_seed0=what)
    ((name, given),) = run_experiment(plan, console).items()
    assert name == "a-seed0"
    assert re.fullmatch(reason, given)
    assert " ".join(given.split())[:30] in " ".join(console.file.getvalue().split())
    pretend()  # mended
    assert run_experiment(plan, quiet()) == {}
    assert [line for line in log_of(plan) if "-seed" in line] == [
        "worker yolo11n-seed0", "worker a-seed0", "worker b-seed0", "worker a-seed0"
    ]  # fmt: skip


@pytest.mark.parametrize("error", [DataError, DiskFullError])
def test_a_mistake_that_concerns_every_run_ends_the_comparison(tmp_path, pretend, error):
    plan = make(tmp_path / "c")
    pretend(yolo11n_seed0=[error.__name__, "data d.yaml: no labels"])
    with pytest.raises(error, match=r"^data d\.yaml: no labels$"):
        run_experiment(plan, quiet())
    assert log_of(plan) == ["worker", "worker yolo11n-seed0"]


def test_a_mistake_is_found_before_the_first_training(tmp_path, pretend):
    plan = make(tmp_path / "c")
    pretend(**{"worker!": ["ArgumentError", "'epoch' is no argument"]})
    with pytest.raises(ArgumentError, match=r"^'epoch' is no argument$"):
        run_experiment(plan, quiet())
    assert log_of(plan) == ["worker"]


def test_an_interruption_says_how_to_go_on(tmp_path, pretend):
    pretend(v_seed0="interrupted")
    plan, console = make(tmp_path / "c", models=["v.yaml"]), quiet()
    with pytest.raises(KeyboardInterrupt):
        run_experiment(plan, console)
    assert "Interrupted. " in console.file.getvalue()


def test_failed_measurement_leaves_the_accuracy(tmp_path, pretend):
    console = quiet()
    pretend(**{"cost_measurement!": [None, "RuntimeError: no"]})
    assert run_experiment(make(tmp_path / "c"), console) == {}
    assert "No costs: RuntimeError: no" in console.file.getvalue()


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (None, "belongs to experiment 0123456789ab, not to"),
        ('{"format": 3}', r"record\.json has format 3; .*format 1\. .*delete it and rerun"),
    ],
)
def test_a_record_that_does_not_belong_here_is_refused_and_kept(tmp_path, pretend, content, match):
    plan = make(tmp_path / "c")
    plan.claim()
    record = plan.runs[1].record
    content = content or json.dumps(empty_record(plan, plan.runs[1]) | {"experiment": "0123456789ab"})
    record.parent.mkdir()
    record.write_text(content)
    with pytest.raises(DataError, match=match):
        run_experiment(plan, quiet())
    assert record.read_text() == content
    assert not (plan.folder / "log.txt").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="kills a process by signal")
def test_a_run_ends_when_the_comparison_is_killed(tmp_path, pretend, monkeypatch):
    """Nobody would know of it: the same command, given at once, would find its folder held."""
    plan = make(tmp_path / "c")
    pretend(yolo11n_seed0="slow")
    code = (
        "import sys; from yolo_attn.comparison import child_processes as children; "
        "from yolo_attn.comparison.running import run_experiment; from yolo_attn.experiment.plan import Plan; "
        f"children.command = lambda *words: [sys.executable, {str(tmp_path / 'pretender.py')!r}, *map(str, words)]; "
        f"run_experiment(Plan.load({str(plan.folder)!r}))"
    )
    plan.claim()
    process = subprocess.Popen(
        [sys.executable, "-c", code], env=child_processes.child_environment(), stdout=subprocess.DEVNULL
    )
    pid = plan.runs[0].folder / "pid"
    deadline = time.monotonic() + 30
    while not pid.exists() or not pid.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    child = int(pid.read_text())
    process.kill()
    process.wait()
    while psutil.pid_exists(child) and psutil.Process(child).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_progress_is_what_the_process_and_the_table_say(tmp_path):
    plan = make(tmp_path / "c", arguments={"epochs": 4})
    run = plan.runs[0]
    assert engines.read_progress(plan, run) == Progress("starting", 0, 4)
    run.folder.mkdir(parents=True)
    (run.folder / "results.csv").write_text("epoch,time\n1,5\n2,9\n")  # all that a training on several GPUs leaves
    assert engines.read_progress(plan, run) == Progress("training", 2, 4)
    write_note(run.progress, storage.encode(Progress("training", 2, 4, 5, 10)))
    told = engines.read_progress(plan, run)
    assert told == Progress("training", 2, 4, 5, 10)
    run.progress.write_text("{")
    assert engines.read_progress(plan, run) == Progress("training", 2, 4)


def test_a_full_disk_is_one_line_and_what_was_written_is_whole(tmp_path, monkeypatch, capsys):
    import errno

    from yolo_attn.cli.main import guarded

    path = tmp_path / "record.json"
    good = RunError("good")
    storage.write(path, good)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(atomic_files.os, "fsync", full)
    with pytest.raises(DiskFullError) as caught:
        storage.write(path, RunError("bad"))
    assert storage.read(path, RunError) == good
    assert [entry.name for entry in tmp_path.iterdir()] == ["record.json"]
    line = str(disk_full(caught.value, "here"))
    assert line.startswith("the disk of here is full")
    wrapped = RuntimeError("[enforce fail at inline_container.cc:672] . PytorchStreamWriter failed writing file data/0")
    assert str(disk_full(wrapped, "here")) == line  # torch's own writer
    assert disk_full(ValueError("no"), "here") is None
    assert guarded(lambda: storage.write(path, RunError("bad"))) == 2
    assert capsys.readouterr().err.startswith("yolo-attn: the disk of ")


def test_a_worker_on_a_full_disk_says_so(tmp_path, monkeypatch, capsys):
    import errno

    plan = make(tmp_path / "c")
    plan.claim()

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(worker, "check", full)
    assert worker.main([str(plan.folder)]) == 2
    assert read_json(plan.folder / "error.json")["error"] == "DiskFullError"
    monkeypatch.setattr(atomic_files.os, "fsync", full)  # not even that can be written
    assert worker.main([str(plan.folder)]) == 2
    assert "is full" in capsys.readouterr().err
