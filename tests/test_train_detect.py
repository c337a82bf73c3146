"""The script of the main job: its recipe with less of everything, its table, and its mistakes."""

import sys
from types import SimpleNamespace

import pytest
from support import ROOT, read_json, run_file

from yolo_attn.report import compare_models

sys.path.insert(0, str(ROOT))
import train_detect


@pytest.mark.slow
def test_the_main_job_in_small(tmp_path):
    def job(epochs, status=0):
        words = ["--quick", f"epochs={epochs}", "fraction=0.02", "folder=out"]
        done = run_file([str(ROOT / "train_detect.py"), *words], tmp_path, YOLO_VERBOSE="1", COLUMNS="100")
        assert done.returncode == status, done.stderr[-3000:]
        times = {file.parent.name: file.stat().st_mtime_ns for file in (tmp_path / "out").glob("*/record.json")}
        return done, read_json(tmp_path / "out" / "results.json"), times

    done, results, records = job(1)
    for word in ("yolo11n", "yolo11n-ema", "difference", "AP-S", "AP-M", "AP-L", "latency", "GFLOPs", "One seed"):
        assert word in done.stdout, done.stdout
    base, variant = results["models"]
    assert (base["name"], variant["name"]) == ("yolo11n", "yolo11n-ema")
    assert 0 < variant["cost"]["parameters"] - base["cost"]["parameters"] < 3000  # three EMA attention layers
    (difference,) = variant["effect"]["metrics"]["AP"]["seeds"]["values"]
    assert difference == pytest.approx(100 * (variant["metrics"]["AP"]["mean"] - base["metrics"]["AP"]["mean"]))
    assert variant["effect"]["verdict"]["word"] in ("one seed", "identical", "not measured")  # never more
    assert variant["effect"]["verdict"]["text"] in " ".join(done.stdout.split())
    assert "yolo11n-ema" in (tmp_path / "out" / "report.html").read_text()
    assert sorted(records) == ["yolo11n-ema-seed0", "yolo11n-seed0"]
    again, _, same = job(1)
    assert same == records
    assert "2 of 2 runs are finished" in again.stdout
    other, kept, same = job(2, status=2)
    assert (kept["models"], same) == (results["models"], records)
    assert "epochs was 1, now 2" in other.stderr


@pytest.mark.fast
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["epoch=3"], "'--epoch'. Did you mean '--epochs'?"),
        (["data=nowhere.yaml"], "'nowhere.yaml'"),
        (
            ["--quick", "models=yolo11n-emma.yaml"],
            "'yolo11n-emma.yaml' does not exist. Did you mean 'yolo11n-ema.yaml'?",
        ),
        (["--quick", "experiment.yaml"], "yolo-attn compare"),
        (["trian", "model=x"], "'trian'. Did you mean 'train'?"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert train_detect.run(words) == 2
    out, err = capsys.readouterr()
    assert message in err
    assert (out, err.count("\n")) == ("", 1)
    assert not (tmp_path / "runs").exists()


@pytest.mark.fast
def test_the_recipe_and_what_takes_precedence(monkeypatch):
    seen = {}
    monkeypatch.setattr(
        compare_models, "compare", lambda base, models, data, **rest: seen.update(rest) or SimpleNamespace(failed=[])
    )
    assert train_detect.run(["--quick", "lr0=0.1", "--seeds", "0-1"]) == 0
    assert (seen["epochs"], seen["fraction"], seen["lr0"], seen["seeds"]) == (8, 0.4, 0.1, "0-1")
    assert train_detect.run([]) == 0
    assert (seen["epochs"], seen["lr0"], seen["seeds"], seen["imgsz"]) == (25, 0.002, "0", 128)


@pytest.mark.fast
def test_help(capsys):
    assert train_detect.run(["--help"]) == 0
    text = capsys.readouterr().out
    assert "--quick" in text
    assert max(map(len, text.splitlines())) <= 80
