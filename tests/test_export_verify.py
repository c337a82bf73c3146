"""``verify=True`` of an export: right exports pass, wrong ones end with status 1, in every command and format."""

import math
import re
import types

import cv2
import numpy as np
import pytest
import torch
from support import ROOT, model_yaml, run, run_file, tiny_data
from ultralytics import YOLO
from ultralytics.utils import ASSETS

import yolo_attn
from yolo_attn.cli import main
from yolo_attn.errors import ArgumentError, DifferentExportError
from yolo_attn.integration.queries import export_limits, export_tolerances, export_verification, onnx_on_gpu
from yolo_attn.integration.queries.output_differences import OutputLayout, differences

pytestmark = [
    pytest.mark.export,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore::ResourceWarning"),
]
DENSE = OutputLayout("detect", 2)
LIST = OutputLayout("detect", 2, detections=True, pixels=100.0)


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(export_verification, "SECONDS", 0.1)
    yolo_attn.install()


@pytest.fixture
def reports(monkeypatch):
    """Every verification whose report is printed."""
    found, lines = [], export_verification.Verification.lines
    monkeypatch.setattr(export_verification.Verification, "lines", lambda self: found.append(self) or lines(self))
    return found


@pytest.mark.fast
def test_each_kind_of_number_has_its_own_scale():
    want = torch.cat([torch.full((1, 4, 5), 640.0), torch.full((1, 2, 5), 0.5)], 1)
    got = want.clone()
    got[0, 5, 3] += 0.05  # 1e-4 of the largest number, a tenth of the largest score
    assert differences([want, "else"], (got,), DENSE) == {"boxes": 0, "scores": pytest.approx(0.1)}
    pose = OutputLayout("pose", 1)
    assert differences(want, got, pose) == {"boxes": 0, "scores": 0, "keypoints": pytest.approx(0.1)}


@pytest.mark.fast
def test_prototypes_are_found_by_their_shape():
    want = (torch.ones(1, 7, 5), (torch.ones(1, 9), torch.ones(1, 3, 4, 4)))
    got = [torch.ones(1, 7, 5), torch.full((1, 3, 4, 4), 1.5)]
    found = differences(want, got, OutputLayout("segment", 1))
    assert found == {"boxes": 0, "scores": 0, "mask coefficients": 0, "mask prototypes": 0.5}


@pytest.mark.fast
@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("layout", [DENSE, LIST], ids=["dense", "list"])
def test_what_is_not_finite_is_infinitely_far(layout, value):
    want = torch.ones(1, 6, 6)
    got = want.clone()
    got[0, 5, 5] = value
    assert max(differences(want, got, layout).values()) == math.inf


@pytest.mark.fast
def test_another_shape_is_infinitely_far():
    assert differences(torch.ones(1, 6, 5), torch.ones(1, 6, 4), DENSE) == {"shapes": math.inf}
    assert differences(torch.ones(1, 6, 5), [], DENSE) == {"outputs": math.inf}


def detections(*rows):
    return torch.tensor([rows])


@pytest.mark.fast
def test_lists_of_detections_are_compared_as_sets():
    a, b, weak = (10.0, 10, 50, 50, 0.9, 1), (60.0, 60, 90, 90, 0.8999, 0), (1.0, 2, 3, 4, 0.01, 1)
    want = detections(a, b, weak)
    assert differences(want, detections(b, a, (9.0, 9, 9, 9, 0.01, 0)), LIST) == {"detections": 0}
    moved = (12.0, 10, 50, 50, 0.9, 1)
    assert differences(want, detections(moved, b, weak), LIST)["detections"] == pytest.approx(0.02)
    other_class = (10.0, 10, 50, 50, 0.9, 0)
    assert differences(want, detections(other_class, b, weak), LIST)["detections"] >= 0.5
    missing = (0.0, 0, 0, 0, 0, 0)
    assert differences(want, detections(a, missing, weak), LIST)["detections"] > 0.5
    assert differences(detections(a, missing, weak), want, LIST)["detections"] > 0.5  # one too many


@pytest.mark.fast
def test_detections_at_the_threshold_are_not_compared():
    a, edge, none = (10.0, 10, 50, 50, 0.9, 1), (60.0, 60, 90, 90, 0.2501, 0), (0.0, 0, 0, 0, 0, 0)
    layout = OutputLayout("detect", 2, detections=True, threshold=0.25, pixels=100.0)
    assert differences(detections(a, edge), detections(a, none), layout) == {"detections": 0}


@pytest.mark.fast
def test_queries_may_change_places():
    want = torch.rand(1, 5, 4 + 2).clamp(min=0.1)
    layout = OutputLayout("detect", 2, queries=True)
    assert differences(want, want[:, [1, 0, 4, 2, 3]], layout) == {"detections": 0}
    got = want.clone()
    got[0, 2, 4] += 0.2
    assert 0 < differences(want, got, layout)["detections"] <= 0.2 + 1e-6


@pytest.mark.fast
def test_tolerances_come_from_the_stock_models():
    exact = export_tolerances.tolerance_of("onnx", "float32")
    assert exact.difference == 5 * 2.3e-5
    assert exact.loss == 0.002
    rounded = export_tolerances.tolerance_of("onnx", "float16")
    assert exact.difference < rounded.difference
    assert export_tolerances.tolerance_of("openvino", "int8").difference is None
    assert export_tolerances.tolerance_of("onnx", "int8").loss == pytest.approx(0.084)
    unknown = export_tolerances.tolerance_of("engine", "float32")
    assert unknown.difference == max(
        5 * row[0] for (_, precision), row in export_tolerances.MEASURED.items() if precision == "float32"
    )
    assert export_tolerances.tolerance_of("onnx", "float32", nms=True).loss > exact.loss


@pytest.mark.fast
@pytest.mark.parametrize(
    ("arguments", "precision"),
    [
        ({}, "float32"),
        ({"quantize": None}, "float32"),
        ({"quantize": 32}, "float32"),
        ({"quantize": 16}, "float16"),
        ({"half": True}, "float16"),
        ({"quantize": 8}, "int8"),
        ({"quantize": "w8a16"}, "int8"),
        ({"int8": True}, "int8"),
    ],
)
def test_the_precision_in_the_words_of_every_version(arguments, precision):
    exporter = types.SimpleNamespace(args=types.SimpleNamespace(**arguments))
    assert export_verification.Exported(exporter, "x").precision == precision


CHANGED = """
import torch
from torch import nn
from yolo_attn import register

@register("Changed", paper="https://arxiv.org/abs/0000.00000")
class Changed(nn.Module):
    def __init__(self, channels, how="value"):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(channels, 1, 1))
        self.how = how

    def forward(self, x):
        if torch.jit.is_tracing():
            if self.how == "value":
                return x * self.scale + 1
            if self.how == "size":
                return x * self.scale + torch.zeros(int(x.shape[2]), int(x.shape[3]))
        return x * self.scale
"""


def changed_model(folder, how):
    (folder / "changed.py").write_text(CHANGED)
    model_yaml(folder, "EMA, []", f"Changed, [{{how: {how}}}]")


EXPORT = """
import sys
import changed
from yolo_attn.integration.queries import export_verification
export_verification.SECONDS = 0.1
"""
ENTRIES = {
    "yolo": f"{EXPORT}from ultralytics.cfg import entrypoint\nentrypoint('yolo export {{}}')",
    "yolo-attn": f"{EXPORT}from yolo_attn.cli import main\nsys.exit(main('export {{}}'.split()))",
}


@pytest.mark.parametrize("entry", ENTRIES)
def test_a_wrong_export_ends_with_status_1(entry, tmp_path):
    changed_model(tmp_path, "value")
    code = ENTRIES[entry].format("model=yolo11n-own.yaml format=torchscript imgsz=64 verify=True")
    done = run_file(["-c", code], tmp_path)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    (line,) = [each for each in done.stderr.splitlines() if each.startswith(f"{entry}: ")]
    assert re.search(r"own\.torchscript differs .*(boxes|scores) at 64x64 differ by \S+, allowed are 1e-04", line)
    assert (tmp_path / "yolo11n-own.torchscript").exists()


def test_a_model_that_runs_at_one_size_only(tmp_path):
    changed_model(tmp_path, "size")
    code = ENTRIES["yolo-attn"].format("model=yolo11n-own.yaml format=torchscript imgsz=64 dynamic=True verify=True")
    done = run_file(["-c", code], tmp_path)
    assert done.returncode == 1, done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert "64x64" not in last
    assert re.search(r"does not run at 32x32: \w+", last)
    assert re.search(r"does not run at 32x96 in batches of 2: \w+", last)


MODELS = ["yolo11n-ema.yaml", "yolo11n-seg.yaml", "yolo11n-pose.yaml", "yolo11n-obb.yaml", "yolo11n-cls.yaml"]


@pytest.mark.parametrize("name", MODELS)
def test_every_task_at_every_size(name, reports):
    YOLO(name).export(format="torchscript", imgsz=64, dynamic=True, verify=True)
    (report,) = reports
    last = "48x80" if "cls" in name else "32x96"  # a classifier has no stride
    assert [at.size for at in report.compared] == ["64x64", "32x32", f"{last} in batches of 2"]
    kinds = {"ema": 2, "seg": 4, "pose": 3, "obb": 3, "cls": 1}[name[8:-5]]
    assert all(len(at.kinds) == kinds and at.largest < 1e-4 for at in report.compared)
    assert report.latency[0] > 0
    assert report.latency[1] > 0
    assert report.sizes[1] > 1
    assert report.accuracy == {}
    assert any("data=" in note for note in report.notes)


@pytest.mark.parametrize("arguments", [{"nms": True}, {"nms": False}, {"batch": 3}, {"imgsz": [64, 96]}], ids=str)
def test_onnx_with_other_outputs(arguments, reports, tmp_path):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    data = tiny_data(tmp_path / "data")
    model = YOLO("yolo26n-ema.yaml")
    model.export(**{"format": "onnx", "imgsz": 64, "verify": True, "data": str(data), **arguments})
    (report,) = reports
    assert report.compared[0].largest < 1e-4
    (metric,) = report.accuracy
    assert metric == "mAP50-95(B)"
    before, after = report.accuracy[metric]
    assert before == pytest.approx(after, abs=1e-3)
    assert "4 of 4 images of data.yaml, split val" in report.images


def test_data_is_for_the_verification_where_a_format_takes_none(tmp_path, reports):
    """Ultralytics refuses ``data`` for TorchScript, which has no calibration."""
    data = tiny_data(tmp_path / "data")
    assert main(f"export model=yolo11n-ema.yaml format=torchscript imgsz=64 verify data={data}".split()) == 0
    assert reports[0].accuracy


@pytest.mark.fast
def test_which_formats_take_data(monkeypatch):
    assert export_limits.takes_data("onnx") or not export_limits.takes_data("torchscript")
    assert export_limits.takes_data("trt") == export_limits.takes_data("engine")
    formats = {"Argument": ["-", "onnx", "torchscript"], "Arguments": [[], ["dynamic"], []]}  # as in 8.3
    monkeypatch.setattr("ultralytics.engine.exporter.export_formats", lambda: formats)
    assert export_limits.takes_data("torchscript")


def test_int8_is_judged_by_accuracy_alone(tmp_path, reports):
    pytest.importorskip("openvino")
    pytest.importorskip("nncf")
    data = tiny_data(tmp_path / "data")
    YOLO("yolo11n-ema.yaml").export(format="openvino", imgsz=64, int8=True, verify=True, data=str(data))
    (report,) = reports
    assert report.tolerance.difference is None
    assert report.accuracy
    assert any("calibrated" in note for note in report.notes)


@pytest.mark.fast
def test_what_fails():
    tolerance = export_tolerances.Tolerance(1e-4, 0.01)
    right = export_verification.Compared("64x64", {"boxes": 1e-5, "scores": 2e-5})
    values = {"name": "x.onnx", "images": "2 images", "latency": (1.0, 1.0, 1.0), "timed": "", "sizes": (1.0, 1.0)}

    def failures(*compared, accuracy=(0.5, 0.5)):
        report = export_verification.Verification(
            tolerance=tolerance, compared=list(compared), accuracy={"mAP50-95(B)": accuracy}, **values
        )
        return report.failures()

    assert failures(right) == []
    assert failures(right, accuracy=(0.5, 0.6)) == []
    assert failures(right, accuracy=(0.5, 0.491)) == []
    assert len(failures(right, accuracy=(0.5, 0.489))) == 1
    assert len(failures(right, accuracy=(0.5, math.nan))) == 1
    (line,) = failures(right, export_verification.Compared("32x32", {"boxes": 1e-5, "scores": 2e-4}))
    assert line.startswith("scores at 32x32 differ by 2.0e-04")
    assert len(failures(export_verification.Compared("32x32", {"boxes": math.nan}))) == 1
    assert len(failures(export_verification.Compared("32x32", {}, "RuntimeError: no"))) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("verify=5", "verify=5 must be True or False"),
        ("verify=True data=nowhere.yaml", "nowhere.yaml"),
        ("verify=True data=data/data.yaml split=test", "data/data.yaml has no images for split=test"),
    ],
)
def test_mistakes_are_one_line(arguments, message, tmp_path, capfd):
    tiny_data(tmp_path / "data")
    assert main(f"export model=yolo11n-ema.yaml format=torchscript imgsz=64 {arguments}".split()) == 2
    (line,) = [each for each in capfd.readouterr().err.splitlines() if each.startswith("yolo-attn: ")]
    assert message in line


def test_an_argument_of_another_mode(capfd):
    assert main(["val", "model=yolo11n-ema.yaml", "verify=True"]) == 2
    assert "'verify' is an argument of yolo export, not of yolo val" in capfd.readouterr().err


def test_a_runtime_that_is_not_installed(monkeypatch):
    def missing(*_, **__):
        raise ModuleNotFoundError("No module named 'onnxruntime'")

    monkeypatch.setattr(export_verification, "AutoBackend", lambda m, **k: missing() if isinstance(m, str) else None)
    monkeypatch.setattr(export_verification, "_reference", lambda *_: None)
    with pytest.raises(ArgumentError, match=r"yolo11n-ema\.torchscript was exported, but cannot run here.*onnxruntime"):
        YOLO("yolo11n-ema.yaml").export(format="torchscript", imgsz=64, verify=True)


def test_stock_models_and_python(tmp_path, monkeypatch):
    path = YOLO("yolo11n.yaml").export(format="torchscript", imgsz=64, verify=True)
    assert path.endswith("yolo11n.torchscript")
    monkeypatch.setattr(export_tolerances, "DIFFERENCE_FACTOR", 0)
    with pytest.raises(DifferentExportError, match=r"yolo11n\.torchscript differs from the PyTorch model"):
        YOLO("yolo11n.yaml").export(format="torchscript", imgsz=64, verify=True)


@pytest.mark.fast
def test_constants_on_two_devices_stay_in_the_graph(monkeypatch):
    """As torch fails with a model on a GPU; the message is torch's."""
    calls = []

    def export(*_, **options):
        calls.append(options)
        if options.get("do_constant_folding", True):
            raise RuntimeError("Expected all tensors to be on the same device, but found at least two devices")

    monkeypatch.setattr(torch.onnx, "export", export)
    with onnx_on_gpu.unfolded_if_needed():
        torch.onnx.export(opset_version=17)
    assert calls == [{"opset_version": 17}, {"opset_version": 17, "do_constant_folding": False}]
    assert torch.onnx.export is export


@pytest.mark.fast
def test_other_errors_of_a_conversion_are_raised(monkeypatch):
    def export(*_, **__):
        raise RuntimeError("no such operator")

    monkeypatch.setattr(torch.onnx, "export", export)
    with onnx_on_gpu.unfolded_if_needed(), pytest.raises(RuntimeError, match="no such operator"):
        torch.onnx.export()


@pytest.mark.slow
def test_the_readme_command_on_trained_weights(shared, tmp_path):
    """With weights and data: the accuracy is that of ``yolo val``."""
    import shutil

    shutil.copytree(shared / "data/coco_val128", tmp_path / "data")
    shutil.copy(shared / "weights/yolo11n.pt", tmp_path / "yolo11n.pt")
    command = "yolo export model=yolo11n.pt format=torchscript imgsz=160 data=data/coco_val128.yaml verify=True"
    out = run(
        f"from ultralytics.cfg import entrypoint\nentrypoint({command!r})",
        tmp_path,
        YOLO_VERBOSE="1",
        PYTHONPATH=str(ROOT),
    )
    before, after = map(float, re.search(r"mAP50-95\(B\): (\S+) -> (\S+) ", out).groups())
    assert before == after > 0.1
    assert "verify: passed" in out


def test_images_of_another_number_of_channels(tmp_path):
    """A model of six channels reads a TIFF of six; a photo is refused."""
    file = tmp_path / "six.tiff"
    pages = [np.full((20, 40), 10 * page, np.uint8) for page in range(6)]
    assert cv2.imwritemulti(str(file), pages)
    tensor = export_verification._tensor([str(file)], (20, 40), 6)
    assert tensor[0, :, 10, 20].mul(255).tolist() == pytest.approx([0, 10, 20, 30, 40, 50])
    with pytest.raises(ArgumentError, match=r"6 channels, and .*bus\.jpg has 3; .* data="):
        export_verification._tensor([str(ASSETS / "bus.jpg")], (64, 64), 6)
    assert export_verification._tensor([str(ASSETS / "bus.jpg")], (64, 64), 1).shape == (1, 1, 64, 64)
    red = np.zeros((8, 8, 3), np.uint8)
    red[..., 2] = 255
    cv2.imwrite(str(tmp_path / "red.png"), red)
    assert export_verification._tensor([str(tmp_path / "red.png")], (8, 8), 3)[0, :, 4, 4].tolist() == [1, 0, 0]
