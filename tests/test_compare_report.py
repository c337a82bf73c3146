"""The table, in the terminal and in files."""

from __future__ import annotations

import csv
import json

import pytest
from comparison import drawn, made_up_record

from yolo_attn.compare import Plan, cost, records, report


@pytest.fixture
def finished(tmp_path):
    """A finished comparison, made up."""
    plan = Plan.make("yolo11n.yaml", ["yolo11n-ema.yaml"], "bccd.yaml", train={"epochs": 2}, folder=tmp_path / "c")
    plan.claim()
    records.write_json(plan.runs[0].record, made_up_record("yolo11n.yaml"))
    records.write_json(plan.runs[1].record, made_up_record("yolo11n-ema.yaml", map50=0.512, map_=0.2404))
    spread = {"median": 10.0, "p10": 9.0, "p90": 12.0}
    records.write_json(
        plan.folder / "cost.json",
        {
            "runs": cost.fingerprint(plan),
            "gflops_imgsz": 640,
            "latency": {"imgsz": 64, "batch": 1, "dtype": "float32", "device": "A CPU", "threads": 2, "rounds": 50},
            "models": {
                "yolo11n-seed0": {"parameters": 2590000, "gflops": 6.4, "latency_ms": spread,
                                  "latency_ratio": {"median": 1.0, "p10": 1.0, "p90": 1.0}},
                "yolo11n-ema-seed0": {"parameters": 2600000, "gflops": 6.5, "latency_ms": {**spread, "median": 30.0},
                                      "latency_ratio": {"median": 2.54, "p10": 2.0, "p90": 3.1}},
            },
        },
    )  # fmt: skip
    return plan


def cells(text, start):
    line = next(line for line in text.splitlines() if line.strip().startswith(start))
    return line.split()


@pytest.mark.parametrize("width", [80, 100, 160])
def test_table(finished, width):
    text = drawn(report.collect(finished.folder), width)
    assert max(len(line.rstrip()) for line in text.splitlines()) <= width
    assert "\x1b" not in text
    assert "…" not in text
    assert cells(text, "yolo11n ") == ["yolo11n", "2.59", "6.4", "50.0", "25.0", "12.5", "40.0", report.NONE, "10.0"]
    assert cells(text, "yolo11n-ema")[1:] == ["2.60", "6.5", "51.2", "24.0", "12.5", "40.0", report.NONE, "30.0"]
    assert cells(text, "difference") == [
        "difference",
        "+0.4%",
        "+1.6%",
        "+1.2",
        "-1.0",
        "0.0",
        "0.0",
        report.NONE,
        "x2.5",
    ]
    assert text.index("yolo11n ") < text.index("yolo11n-ema") < text.index("difference")
    caption = " ".join(text.split())
    assert (
        "bccd, test split (no epoch was chosen on it): 8 images, 21 boxes. 2 epochs at 64 px, from scratch" in caption
    )
    assert "by Ultralytics 8.4.190" in caption
    assert "by faster-coco-eval 1.8.0" in caption
    assert "on A CPU, 2 threads; median of 50 rounds" in caption
    assert "yolo11n-ema 9.0 to 12.0 (x2.00 to x3.10 of the baseline)" in caption
    assert "One seed shows that the models train, not that one is better" in caption


def test_a_long_name_is_folded_not_cut(finished):
    results = report.collect(finished.folder)
    results["models"][1]["title"] = "yolo11n-" + "-".join(f"part{i}" for i in range(8))
    text = drawn(results, 80)
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 80
    assert "…" not in text
    assert results["models"][1]["title"] in "".join(line.split()[0] for line in text.splitlines() if line.split())


def test_files_say_what_the_table_says(finished):
    results = report.collect(finished.folder)
    report.write(finished.folder, results)
    assert records.read_json(finished.folder / "results.json") == json.loads(json.dumps(results))

    lines = (finished.folder / "results.md").read_text().splitlines()
    assert lines[2] == f"| yolo11n | 2.59 | 6.4 | 50.0 | 25.0 | 12.5 | 40.0 | {report.NONE} | 10.0 |"
    assert lines[4] == f"| *difference* | +0.4% | +1.6% | +1.2 | -1.0 | 0.0 | 0.0 | {report.NONE} | x2.5 |"
    assert {line.count("|") for line in lines[:5]} == {10}
    assert lines[-1] == results["caption"][-1]

    with (finished.folder / "results.csv").open(newline="") as file:
        base, variant = csv.DictReader(file)
    assert (base["model"], base["role"], base["map_points_more"], base["ap_large"]) == (
        "yolo11n.yaml",
        "baseline",
        "",
        "",
    )
    assert float(variant["map_points_more"]) == pytest.approx(-0.96)
    assert float(variant["latency_ms_ratio"]) == 2.54
    assert float(variant["map50"]) == 0.512


def test_the_caption_says_what_makes_runs_unlike(finished):
    old = made_up_record("yolo11n.yaml", sessions=2, epochs=1, versions={"ultralytics": "8.4.0"})
    records.write_json(finished.runs[0].record, old)
    caption = " ".join(report.collect(finished.folder)["caption"])
    assert "Interrupted and resumed: yolo11n;" in caption
    assert "the runs differ in versions (faster-coco-eval, ultralytics)" in caption
    assert "2 epochs (yolo11n stopped after 1)" in caption
    assert "hardware" not in caption


def test_a_busy_machine_is_named(finished):
    assert "Careful" not in " ".join(report.collect(finished.folder)["caption"])
    measured = records.read_json(finished.folder / "cost.json")
    measured["models"]["yolo11n-ema-seed0"]["latency_ms"] = {"median": 30.0, "p10": 14.0, "p90": 1200.0}
    records.write_json(finished.folder / "cost.json", measured)
    caption = " ".join(report.collect(finished.folder)["caption"])
    assert "the latency of yolo11n-ema swings by more than x2" in caption


def test_the_caption_names_the_weights_without_their_path(finished):
    start = {"epochs": 2, "imgsz": 64, "pretrained": "/home/someone/yolo11n.pt"}
    records.write_json(finished.runs[0].record, made_up_record("yolo11n.yaml", arguments=start))
    caption = " ".join(report.collect(finished.folder)["caption"])
    assert "started from yolo11n.pt," in caption
    assert "/home" not in caption


def test_changes():
    assert report.change("points", -0.04) == "0.0"
    assert report.change("points", 1.25) in ("+1.2", "+1.3")
    assert report.change("cost", 1.0) == "0.0%"
    assert report.change("cost", 0.9) == "-10.0%"
    assert report.change("cost", 2.0) == "x2.0"
    assert report.change("cost", None) == report.NONE
