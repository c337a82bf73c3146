"""Running a comparison, with children that only pretend to train."""

from __future__ import annotations

import json
import sys

import pytest
from comparison import drawn, made_up_record, make, quiet

from yolo_attn.compare import compare, report, runs
from yolo_attn.errors import DataError, WordError

PRETENDER = """
import json, os, signal, sys, time
from pathlib import Path
module, folder, *name = sys.argv[1:]
folder = Path(folder)
log = (folder / "log.txt").open("a")
log.write(" ".join([module.rsplit(".", 1)[1], *name]) + "\\n")
log.close()
behaviour = json.loads(os.environ["BEHAVIOUR"])
what = behaviour.get(name[0] if name else module.rsplit(".", 1)[1] + "!", "good")
target = folder / name[0] if name else folder
target.mkdir(exist_ok=True)
if what == "good" and name:
    (target / "record.json").write_text(json.dumps(RECORD | {"model": name[0].split("-")[0] + ".yaml"}))
elif what == "good" and module.endswith("cost"):
    runs = {r.parent.name: json.loads(r.read_text())["ended"] for r in folder.glob("*/record.json")}
    (folder / "cost.json").write_text(json.dumps({"runs": runs, "models": {}}))
elif what == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
elif what == "interrupted":
    sys.exit(130)
elif what != "good":
    kind, message = what
    (target / "error.json").write_text(json.dumps({"kind": kind, "message": message}))
    sys.exit(2 if kind else 1)
"""


@pytest.fixture
def pretend(tmp_path, monkeypatch):
    """Children that write a record, an error or nothing, as told; returns what tells them."""
    script = tmp_path / "pretender.py"
    script.write_text(f"RECORD = {made_up_record()!r}\n{PRETENDER}")
    monkeypatch.setattr(runs, "command", lambda *words: [sys.executable, str(script), *map(str, words)])

    def tell(**behaviour):
        monkeypatch.setenv("BEHAVIOUR", json.dumps({key.replace("_", "-"): what for key, what in behaviour.items()}))

    tell()
    return tell


def log_of(plan):
    return (plan.folder / "log.txt").read_text().split("\n")[:-1]


def test_every_model_is_trained_once_and_kept(tmp_path, pretend):
    plan = make(tmp_path / "c", models=["a.yaml", "b.yaml"])
    console = quiet()
    results = compare(plan, console)
    everything = ["worker", "worker yolo11n-seed0", "worker a-seed0", "worker b-seed0", "cost"]
    assert log_of(plan) == everything
    assert results["failed"] == {}
    assert "[1/3] yolo11n.yaml: training (3 epochs) ..." in console.file.getvalue()
    assert compare(plan, console)["models"] == results["models"]
    assert log_of(plan) == everything  # nothing was run again
    assert "[3/3] b.yaml: finished before, kept" in console.file.getvalue()


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ([None, "ValueError: odd"], "ValueError: odd (in full above)"),
        (["LayerError", "layer 3 cannot be built"], "layer 3 cannot be built"),
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
    results = compare(plan, console)
    assert results["failed"] == {"a.yaml": reason}
    assert [model["model"] for model in results["models"]] == ["yolo11n.yaml", "b.yaml"]
    assert results["models"][1]["difference"]["map"] == 0
    assert f"a.yaml failed: {reason}" in " ".join(console.file.getvalue().split())
    assert reason in (plan.folder / "results.md").read_text()
    pretend()  # mended
    assert compare(plan, quiet())["failed"] == {}
    assert log_of(plan)[5:] == ["worker", "worker a-seed0", "cost"]


def test_without_the_baseline_there_are_no_differences(tmp_path, pretend):
    pretend(yolo11n_seed0=["LayerError", "no"])
    results = compare(make(tmp_path / "c"), quiet())
    assert [model["role"] for model in results["models"]] == ["variant"]
    assert results["models"][0]["difference"] is None


def test_a_mistake_that_concerns_every_run_ends_the_comparison(tmp_path, pretend):
    plan = make(tmp_path / "c")
    pretend(yolo11n_seed0=["DataError", "data d.yaml: no labels"])
    with pytest.raises(DataError, match=r"^data d\.yaml: no labels$"):
        compare(plan, quiet())
    assert log_of(plan) == ["worker", "worker yolo11n-seed0"]


def test_a_mistake_is_found_before_the_first_training(tmp_path, pretend):
    plan = make(tmp_path / "c")
    pretend(**{"worker!": ["WordError", "'epoch' is no argument"]})
    with pytest.raises(WordError, match=r"^'epoch' is no argument$"):
        compare(plan, quiet())
    assert log_of(plan) == ["worker"]


def test_an_interruption_says_how_to_go_on(tmp_path, pretend):
    pretend(v_seed0="interrupted")
    plan, console = make(tmp_path / "c", models=["v.yaml"]), quiet()
    with pytest.raises(KeyboardInterrupt):
        compare(plan, console)
    assert "Interrupted. The same command goes on where this stopped" in console.file.getvalue()
    assert "v.yaml is not finished" in drawn(report.collect(plan.folder))


def test_failed_measurement_leaves_the_accuracy(tmp_path, pretend):
    console = quiet()
    pretend(**{"cost!": [None, "RuntimeError: no"]})
    results = compare(make(tmp_path / "c"), console)
    assert "No costs: RuntimeError: no" in console.file.getvalue()
    assert results["models"][0]["latency_ms"] is None
    assert results["models"][0]["map50"] == 0.5
