"""COCO-trained weights in models with attention, and where they end up."""

import pytest
import torch
from hand_made import inserted, shipped, write
from support import ROOT
from ultralytics import YOLO
from ultralytics.nn.tasks import DetectionModel

import yolo_attn
from yolo_attn.integration.weights import loading, provenance

yolo_attn.install()
COUNTS = {"yolov8n": 355, "yolo11n": 499, "yolo26n": 708}
FILES = sorted(f.stem for f in (ROOT / "model_yamls").glob("*.yaml"))
BEHIND = {"yolov8n": (4, 6, 9, 15, 18, 21), "yolo11n": (4, 6, 10, 16, 19, 22), "yolo26n": (4, 6, 10, 16, 19, 22)}


@pytest.mark.parametrize("name", FILES)
def test_all_weights_of_the_file(name, shared):
    base = name.partition("-")[0] + "n"
    source = YOLO(shared / "weights" / f"{base}.pt").model
    target = DetectionModel(name.replace("-", "n-", 1) + ".yaml", verbose=False)
    outcome = loading.load_quietly(target, source)
    assert (outcome.transferred, outcome.tensors) == (COUNTS[base], COUNTS[base])
    assert target.names[0] == "person"
    assert provenance.of(target)["source"] == f"{base}.pt"


@pytest.fixture(params=sorted(COUNTS))
def with_identities(request, shared, tmp_path):
    """A trained model, and one with attention in residual form after six of its layers."""
    base = request.param
    model = shipped({"yolov8n": "v8/yolov8.yaml", "yolo11n": "11/yolo11.yaml", "yolo26n": "26/yolo26.yaml"}[base])
    for layer in reversed(BEHIND[base]):
        model = inserted(model, layer, [-1, 1, "EMA", [{"factor": 8, "residual": True}]])
    source = YOLO(shared / "weights" / f"{base}.pt")
    target = YOLO(write(tmp_path, f"{base}-own.yaml", model)).load(shared / "weights" / f"{base}.pt")
    return source, target


def test_the_output_is_the_same_bit_for_bit(with_identities):
    source, target = with_identities
    assert sum(type(m).__name__ == "EMA" for m in target.model.model) == 6
    x = torch.rand(1, 3, 320, 256)
    with torch.no_grad():
        assert torch.equal(source.model.eval()(x)[0], target.model.eval()(x)[0])


def test_a_stock_model_with_more_levels(shared):
    """Installing this package changes nothing; ``yolo_attn.load`` aligns the layers."""
    weights = shared / "weights" / "yolov8n.pt"

    def changed(load):
        torch.manual_seed(0)
        before = YOLO("yolov8n-p2.yaml")
        torch.manual_seed(0)
        after = load(YOLO("yolov8n-p2.yaml"), weights).model.state_dict()
        return sum(not torch.equal(after[name], tensor) for name, tensor in before.model.state_dict().items()), len(
            after
        )

    assert changed(YOLO.load) == (175, 437)
    assert changed(yolo_attn.load) == (291, 437)
