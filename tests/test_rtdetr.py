"""RT-DETR through its own trainer: place a block, train one epoch, export and verify."""

import pytest
from support import run, tiny_data

pytestmark = [pytest.mark.slow, pytest.mark.export]


def test_placed_trained_and_exported(tmp_path):
    tiny_data(tmp_path / "data")
    formats = ["torchscript"]
    formats += ["onnx"] if all(map(_installed, ("onnx", "onnxruntime"))) else []
    out = run(
        f"""
        import yolo_attn
        from ultralytics import RTDETR

        yolo_attn.place("rtdetr-l.yaml", "EMA", at=["neck.P3"], output="rtdetr-l-mine.yaml")
        RTDETR("rtdetr-l-mine.yaml").train(
            data="data/data.yaml", epochs=1, imgsz=64, batch=2, workers=0, device="cpu", plots=False, verbose=False,
            project={str(tmp_path / "runs")!r}, name="a",
        )
        model = RTDETR({str(tmp_path / "runs/a/weights/best.pt")!r})
        print("=", [type(layer).__name__ for layer in model.model.model if hasattr(layer, "yolo_attn_layer")])
        for format in {formats}:
            model.export(format=format, imgsz=64, verify=True, data="data/data.yaml")
            print("=", format)
        """,
        tmp_path,
    )
    lines = [line.removeprefix("= ") for line in out.splitlines() if line.startswith("= ")]
    assert lines == ["['EMA']", *formats]


def _installed(name):
    import importlib.util

    return importlib.util.find_spec(name) is not None
