"""The script of the main job: its recipe with less of everything, its table, and its mistakes."""

import json
import os
import subprocess
import sys

import pytest
from support import ROOT


def script(cwd, *words):
    env = {**os.environ, "YOLO_VERBOSE": "1", "COLUMNS": "100"}
    command = [sys.executable, str(ROOT / "train_detect.py"), *words]
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=500)


@pytest.mark.slow
def test_the_main_job_in_small(tmp_path):
    done = script(tmp_path, "--quick", "epochs=1", "fraction=0.02", "folder=out")
    assert done.returncode == 0, done.stderr[-3000:]
    table = done.stdout[done.stdout.rindex("mAP50") :]
    for word in ("yolo11n", "yolo11n-ema", "difference", "AP-S", "AP-M", "AP-L", "latency", "GFLOPs", "One seed"):
        assert word in done.stdout[done.stdout.rindex("params") :], table
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert [m["title"] for m in results["models"]] == ["yolo11n", "yolo11n-ema"]
    base, variant = results["models"]
    assert 0 < variant["parameters"] - base["parameters"] < 3000  # three EMA attention layers
    assert variant["difference"]["map50"] == pytest.approx(100 * (variant["map50"] - base["map50"]))
    again = script(tmp_path, "--quick", "epochs=1", "fraction=0.02", "folder=out")
    assert again.returncode == 0
    assert again.stdout.count("finished before, kept") == 2
    other = script(tmp_path, "--quick", "epochs=2", "fraction=0.02", "folder=out")
    assert other.returncode == 2
    assert "epochs was 1, now 2" in other.stderr
    assert json.loads((tmp_path / "out" / "results.json").read_text())["models"] == results["models"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["epoch=3"], "unknown word 'epoch'. Did you mean 'epochs'?"),
        (["data=nowhere.yaml"], "data set 'nowhere.yaml' does not exist"),
        (["models=yolo11n-emma.yaml"], "model 'yolo11n-emma.yaml' does not exist. Did you mean 'yolo11n-ema.yaml'?"),
        (["trian", "model=x"], "unknown command 'trian'. Did you mean 'train'?"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(words, message, tmp_path):
    done = script(tmp_path, *words)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    assert not (tmp_path / "runs").exists()


def test_help(tmp_path):
    done = script(tmp_path, "--help")
    assert done.returncode == 0
    assert "--quick" in done.stdout
