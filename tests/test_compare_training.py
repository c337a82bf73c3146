"""Comparisons that really train; slow."""

from __future__ import annotations

import pytest
import torch
from comparison import make, quiet
from support import logged
from ultralytics import YOLO
from ultralytics.engine.trainer import BaseTrainer
from ultralytics.nn.tasks import BaseModel

from yolo_attn.comparison import worker
from yolo_attn.comparison.running import run_experiment
from yolo_attn.errors import DataError, UserError
from yolo_attn.experiment.records import read_record
from yolo_attn.integration.queries import validation
from yolo_attn.metrics import boxes_to_coco, compute_metrics


@pytest.mark.slow
@pytest.mark.parametrize("shift", [0, 6])
def test_perfect_predictions_are_perfect_in_both_metrics(tmp_path, rectangles, monkeypatch, shift):
    """Ids, letterboxing and scale of predictions and labels agree: what is found exactly scores 1, what is not, 0.

    The images are 64 x 48 and are seen at 96, sorted by aspect ratio, from two folders that share their file names.
    """
    original = validation._Validator.update_metrics

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

    monkeypatch.setattr(validation._Validator, "update_metrics", with_labels_as_predictions)
    YOLO("yolo11n.yaml").save(tmp_path / "best.pt")
    arguments = {"imgsz": 96, "device": "cpu", "batch": 3}
    found = validation.evaluate(tmp_path / "best.pt", str(rectangles), arguments, "auto", tmp_path / "scratch")
    assert (found.split, found.reason) == ("test", "no epoch was chosen on it")
    assert not (tmp_path / "scratch").exists()
    assert len(found.predictions) == len(found.boxes) == 12
    metrics = compute_metrics(boxes_to_coco(found.images, found.boxes, found.names), found.predictions)
    expected = 0 if shift else 1
    assert metrics["AP"] == metrics["AR100"] == pytest.approx(expected, abs=1e-9)
    assert found.ultralytics["mAP50-95"] == pytest.approx(0.995 * expected, abs=0.001)  # Ultralytics' 1 is 0.995


@pytest.mark.slow
def test_a_test_split_without_labels_is_not_used(tmp_path, rectangles):
    for file in (rectangles.parent / "labels" / "test").rglob("*.txt"):
        file.unlink()
    YOLO("yolo11n.yaml").save(tmp_path / "best.pt")
    found = validation.evaluate(
        tmp_path / "best.pt", str(rectangles), {"imgsz": 64, "device": "cpu"}, "auto", tmp_path / "scratch"
    )
    assert (found.split, found.reason) == ("val", "the test split has no labels")
    rectangles.write_text(rectangles.read_text().replace("test:", "other:"))
    with pytest.raises(DataError, match="has no images for split=test; use split=auto"):
        validation.evaluate(tmp_path / "best.pt", str(rectangles), {}, "test", tmp_path / "scratch")


@pytest.mark.slow
def test_mistakes_are_one_line_and_train_nothing(tmp_path, rectangles):
    def refused(match, **changes):
        plan = make(tmp_path / "mistake", **{"data": str(rectangles)} | changes)
        with pytest.raises(UserError, match=match) as caught:
            run_experiment(plan, quiet())
        assert "\n" not in str(caught.value)
        assert not plan.folder.exists()

    refused("'epochz'.*'epochs'", arguments={"epochz": 3})
    refused("yolov99n", models=["yolov99n.yaml"])
    refused("for the task segment; only detection", models=["yolo11n-seg.yaml"])
    refused("device=abc", arguments={"epochs": 1, "device": "abc"})
    refused("classes=7: .* 0 to 1", arguments={"epochs": 1, "classes": [0, 7]})
    refused("nowhere", data=str(tmp_path / "nowhere.yaml"))


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(BaseTrainer, "_handle_nan_recovery"), reason="this Ultralytics does not recover")
def test_a_training_recovers_from_a_nan_as_it_does_without_compare(tmp_path, rectangles, monkeypatch):
    """Ultralytics then loads last.pt, which must be in its place: the loss of the last batch of epoch 2 is NaN once."""
    model_loss, batches = BaseModel.loss, []

    def loss(self, *args, **kwargs):
        found, items = model_loss(self, *args, **kwargs)
        batches.extend([1] * self.training)
        return (found * float("nan") if self.training and len(batches) == 4 else found), items

    monkeypatch.setattr(BaseModel, "loss", loss)
    arguments = {"epochs": 3, "imgsz": 32, "batch": 8, "device": "cpu", "workers": 0}
    plan = make(tmp_path / "c", models=["yolo11n-ema.yaml"], data=str(rectangles), arguments=arguments)
    plan.claim()
    run = plan.run("yolo11n-ema-seed0")
    with logged() as lines:
        assert worker.main([str(plan.folder), run.name]) == 0
    assert sum("recovering from last.pt" in line for line in lines) == 1
    assert len(batches) == 8  # the second epoch ran twice
    record = read_record(run.record, plan.id)
    assert [row["epoch"] for row in record.epochs] == [1, 2, 3]
    weights = validation.open_checkpoint(run.weights / "last.pt").state_dict().values()
    assert all(tensor.isfinite().all() for tensor in weights)
    assert sorted(path.name for path in run.weights.iterdir()) == ["best.pt", "last.pt"]
