"""Comparisons that really train; slow."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from comparison import quiet
from ultralytics import YOLO

from yolo_attn.compare import Plan, coco, compare, records, runs
from yolo_attn.errors import DataError, UserError


@pytest.fixture
def rectangles(tmp_path):
    """A data set of coloured rectangles, 64 px, with a test split in two folders that share their file names."""
    import cv2

    rng = np.random.default_rng(0)
    root = tmp_path / "rectangles"
    for folder, count in (("train", 16), ("val", 6), ("test/a", 4), ("test/b", 4)):
        for kind in ("images", "labels"):
            (root / kind / folder).mkdir(parents=True)
        for number in range(count):
            image = np.full((48, 64, 3), 30, np.uint8)
            lines = []
            for category in range(2 if number else 0):  # the first image of each folder is empty
                w, h = (int(side) for side in rng.integers(14, 28, 2))
                x, y = int(rng.integers(0, 64 - w)), int(rng.integers(0, 48 - h))
                image[y : y + h, x : x + w] = ((250, 40, 40), (40, 250, 40))[category]
                lines.append(f"{category} {(x + w / 2) / 64} {(y + h / 2) / 48} {w / 64} {h / 48}")
            cv2.imwrite(str(root / "images" / folder / f"{number:03d}.png"), image)
            (root / "labels" / folder / f"{number:03d}.txt").write_text("\n".join(lines))
    data = root / "rectangles.yaml"
    data.write_text(
        f"path: {root}\ntrain: images/train\nval: images/val\ntest: [images/test/a, images/test/b]\n"
        "names: {0: red, 1: green}\n"
    )
    return data


@pytest.mark.slow
@pytest.mark.parametrize("shift", [0, 6])
def test_perfect_predictions_are_perfect_in_both_figures(tmp_path, rectangles, monkeypatch, shift):
    """Ids, letterboxing and scale of predictions and labels agree: what is found exactly scores 1, what is not, 0.

    The images are 64 x 48 and are seen at 96, sorted by aspect ratio, from two folders that share their file names.
    """
    import torch
    from ultralytics import YOLO

    from yolo_attn.integration import evaluation

    original = evaluation._Validator.update_metrics

    def with_labels_as_predictions(self, preds, batch):
        height, width = batch["img"].shape[2:]
        replaced = []
        for number, pred in enumerate(preds):
            mine = batch["batch_idx"] == number
            x, y, w, h = (batch["bboxes"][mine] * torch.tensor([width, height, width, height])).unbind(1)
            boxes = torch.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], 1) + shift * 5
            category, score = batch["cls"][mine].reshape(-1), torch.linspace(0.9, 0.8, len(boxes))
            if isinstance(pred, dict):
                replaced.append({"bboxes": boxes, "conf": score, "cls": category, "extra": boxes[:, :0]})
            else:
                replaced.append(torch.cat([boxes, score[:, None], category[:, None]], 1))
        original(self, replaced, batch)

    monkeypatch.setattr(evaluation._Validator, "update_metrics", with_labels_as_predictions)
    YOLO("yolo11n.yaml").save(tmp_path / "best.pt")
    words = {"imgsz": 96, "device": "cpu", "batch": 3}
    found = evaluation.evaluate(tmp_path / "best.pt", str(rectangles), words, "auto", tmp_path / "scratch")
    assert (found.split, found.reason) == ("test", "no epoch was chosen on it")
    assert not (tmp_path / "scratch").exists()
    assert len(found.predictions) == len(found.boxes) == 12
    figures = coco.figures(coco.ground_truth(found.images, found.boxes, found.names), found.predictions)
    expected = 0 if shift else 1
    assert figures["AP"] == figures["AR100"] == pytest.approx(expected, abs=1e-9)
    assert found.ultralytics["mAP50-95"] == pytest.approx(0.995 * expected, abs=0.001)  # Ultralytics' 1 is 0.995


@pytest.mark.slow
def test_a_test_split_without_labels_is_not_used(tmp_path, rectangles):
    from ultralytics import YOLO

    from yolo_attn.integration import evaluation

    for file in (rectangles.parent / "labels" / "test").rglob("*.txt"):
        file.unlink()
    YOLO("yolo11n.yaml").save(tmp_path / "best.pt")
    found = evaluation.evaluate(
        tmp_path / "best.pt", str(rectangles), {"imgsz": 64, "device": "cpu"}, "auto", tmp_path / "scratch"
    )
    assert (found.split, found.reason) == ("val", "the test split has no labels")
    rectangles.write_text(rectangles.read_text().replace("test:", "other:"))
    with pytest.raises(DataError, match="has no images for split=test; use split=auto"):
        evaluation.evaluate(tmp_path / "best.pt", str(rectangles), {}, "test", tmp_path / "scratch")


def start(plan):
    """Start the comparison as its own process, so that it can be killed like one."""
    code = (
        "import sys; from yolo_attn.compare import Plan, compare; "
        f"sys.exit(bool(compare(Plan.load({str(plan.folder)!r}))['failed']))"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code],
        env=runs._environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
    )


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="kills a process by signal")
def test_a_killed_training_goes_on_and_a_finished_one_is_kept(tmp_path, rectangles):
    YOLO("yolo11n.yaml").save(tmp_path / "weights.pt")
    weights = str(tmp_path / "weights.pt")
    words = {"epochs": 5, "imgsz": 64, "batch": 8, "device": "cpu", "pretrained": weights}
    plan = Plan.make("yolo11n.yaml", ["yolo11n-ema.yaml"], str(rectangles), seed=3, train=words, folder=tmp_path / "c")
    plan.claim()
    first, second = plan.runs
    process = start(plan)
    deadline = time.monotonic() + 120
    while (
        len(records.read_epochs(first.folder / "results.csv")) < 2 or not (first.folder / "weights/last.pt").is_file()
    ):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.01)
    os.kill(int((first.folder / ".lock").read_text()), signal.SIGKILL)
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 1, output[-3000:]
    assert "[1/2] yolo11n.yaml: failed: its process was ended by SIGKILL" in output
    assert not first.record.exists()
    trained = len(records.read_epochs(first.folder / "results.csv"))
    assert 2 <= trained < 5
    first_epoch = records.read_epochs(first.folder / "results.csv")[0]
    kept = second.record.stat().st_mtime_ns

    process = start(plan)
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output[-3000:]
    assert "[2/2] yolo11n-ema.yaml: finished before, kept" in output
    assert second.record.stat().st_mtime_ns == kept
    assert f"going on after {trained} of 5 epochs" in output

    record = records.read_json(first.record)
    assert [row["epoch"] for row in record["epochs"]] == list(range(1, 6))
    assert record["epochs"][0] == first_epoch  # its time too: not trained again
    assert record["sessions"] == 2
    arrived = re.match(r"transferred (\d+)/499 tensors of the source", record["transferred"])
    assert int(arrived[1]) > 440  # all but the class branch, in the run that was resumed too
    assert record["seed"] == record["arguments"]["seed"] == 3
    assert record["train_seconds"] > 0
    assert record["peak_memory"]["resident_bytes"] > 10**7
    assert record["versions"]["ultralytics"]
    assert record["data"]["split"] == "test"
    assert record["data"]["images"] == 8  # the two folders' files of one name are eight images
    assert record["data"]["boxes"] == 12
    assert record["data"]["names"] == ["red", "green"]

    truth = records.read_json(first.folder / "ground_truth.json")
    predictions = records.read_json(first.folder / "predictions.json")
    assert [image["file_name"] for image in truth["images"]][3:5] == ["a/003.png", "b/000.png"]
    assert {(image["height"], image["width"]) for image in truth["images"]} == {(48, 64)}
    assert {prediction["category_id"] for prediction in predictions} <= {0, 1}
    assert coco.figures(truth, predictions) == pytest.approx(record["figures"]["coco"])
    sides = [annotation["bbox"][2] for annotation in truth["annotations"]]
    assert all(14 <= side <= 28 and side == pytest.approx(round(side), abs=0.01) for side in sides)

    results = records.read_json(plan.folder / "results.json")
    base, variant = results["models"]
    assert base["role"] == "baseline"
    assert base["parameters"] > 2e6
    assert variant["latency_ms"] > 0
    assert variant["difference"]["parameters"] == pytest.approx(variant["parameters"] / base["parameters"])
    assert "Interrupted and resumed: yolo11n" in " ".join(results["caption"])
    said = next(line for line in results["caption"] if line.startswith("Weights at the start"))
    assert f"yolo11n-ema {arrived[0]}" in said
    assert "in layers 17, 21, 25 (EMA)" in said
    assert not list(plan.folder.rglob("*.part"))


@pytest.mark.slow
def test_mistakes_are_one_line_and_train_nothing(tmp_path, rectangles):
    def told(match, **changes):
        words = {"base": "yolo11n.yaml", "models": ["yolov8n.yaml"], "data": str(rectangles)} | changes
        plan = Plan.make(**words, folder=tmp_path / "mistake")
        with pytest.raises(UserError, match=match) as caught:
            compare(plan, quiet())
        assert "\n" not in str(caught.value)
        assert not list(plan.folder.rglob("*.pt"))
        (plan.folder / "plan.json").unlink()
        (plan.folder / "error.json").unlink()

    told("'epochz' is no argument of yolo train. Did you mean 'epochs'", train={"epochz": 3})
    told("yolov99n", models=["yolov99n.yaml"])
    told("for the task segment; only detection", models=["yolo11n-seg.yaml"])
    told("nowhere", data=str(tmp_path / "nowhere.yaml"))
