"""COCO-trained weights in models with attention, and where they end up."""

import pytest
import torch
from hand_made import inserted, shipped, write
from ultralytics import YOLO

import yolo_attn
from yolo_attn.integration.weights import weight_sources

yolo_attn.install()
AFTER = {"yolov8n": (4, 6, 9, 15, 18, 21), "yolo11n": (4, 6, 10, 16, 19, 22), "yolo26n": (4, 6, 10, 16, 19, 22)}


@pytest.mark.parametrize("base", AFTER)
def test_residual_attention_leaves_the_output_as_it_was(base, shared, tmp_path):
    """After six layers of a trained model: the same output bit for bit."""
    model = shipped({"yolov8n": "v8/yolov8.yaml", "yolo11n": "11/yolo11.yaml", "yolo26n": "26/yolo26.yaml"}[base])
    for layer in reversed(AFTER[base]):
        model = inserted(model, layer, [-1, 1, "EMA", [{"factor": 8, "residual": True}]])
    weights = shared / "weights" / f"{base}.pt"
    source, target = YOLO(weights), YOLO(write(tmp_path, f"{base}-own.yaml", model)).load(weights)
    assert sum(type(m).__name__ == "EMA" for m in target.model.model) == 6
    assert target.model.names[0] == "person"
    assert weight_sources.of(target.model)["source"] == weights.name
    x = torch.rand(1, 3, 320, 256)
    with torch.no_grad():
        assert torch.equal(source.model.eval()(x)[0], target.model.eval()(x)[0])


def test_a_stock_model_with_more_levels(shared):
    """Installing this package changes nothing; ``yolo_attn.load`` aligns the layers."""
    weights = shared / "weights" / "yolov8n.pt"

    def changed(load):
        torch.manual_seed(0)
        before = YOLO("yolov8n-p2.yaml").model.state_dict()
        torch.manual_seed(0)
        after = load(YOLO("yolov8n-p2.yaml"), weights).model.state_dict()
        assert len(after) == 437
        return sum(not torch.equal(after[name], tensor) for name, tensor in before.items())

    assert (changed(YOLO.load), changed(yolo_attn.load)) == (175, 291)
