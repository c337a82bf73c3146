"""What the registry says of exports: what it refuses fails, and what it lets pass works."""

import dataclasses
import io
import os
import re
import sys

import pytest
import torch
from export_cases import CASES, CHANNELS, OneMap, refused
from support import ROOT, run, run_file
from ultralytics import YOLO
from ultralytics.engine.exporter import export_formats

import yolo_attn
from yolo_attn.blocks import attention_augmented, functional
from yolo_attn.blocks.nn import attention_kernels
from yolo_attn.cli import main
from yolo_attn.errors import ArgumentError
from yolo_attn.integration.queries import export_limits
from yolo_attn.registry import BLOCKS, SHIPPED, ExportLimit
from yolo_attn.testing import export_contract

pytestmark = [
    pytest.mark.export,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning"),
]
every_case = pytest.mark.parametrize("name", CASES)
IMAGE = (1, CHANNELS, 12, 20)


def to_onnx(block, opset):
    """Return why the conversion for any size failed; empty if it did not. The package onnx is needed after it only."""
    axes = {"images": {0: "batch", 2: "height", 3: "width"}}
    names = {"input_names": ["images"], "dynamic_axes": axes}
    try:
        torch.onnx.export(block, (torch.randn(IMAGE),), io.BytesIO(), opset_version=opset, dynamo=False, **names)
    except (torch.onnx.errors.OnnxExporterError, torch.onnx.errors.SymbolicValueError) as error:
        return "" if "onnx is not installed" in str(error) else str(error)
    return ""


@every_case
def test_the_lowest_opset(name, capfd):
    block = OneMap(*CASES[name]).eval()
    lowest = next(opset for opset in range(9, 30) if not refused(name, "onnx", opset))
    assert to_onnx(block, lowest) == ""
    assert lowest == 9 or to_onnx(block, lowest - 1)
    capfd.readouterr()  # the exporter prints its graph


NCNN = """
import os, sys, tempfile, warnings
warnings.simplefilter("ignore")
import ncnn, numpy, pnnx, torch
from export_cases import CASES, CHANNELS, OneMap
from yolo_attn.blocks.functional import export_to
torch.set_num_threads(1)
torch.manual_seed(0)
block = OneMap(*CASES[sys.argv[1]]).eval()
x = torch.randn(1, CHANNELS, 12, 20)
print("CONVERTING", flush=True)
with tempfile.TemporaryDirectory() as folder, export_to("ncnn"):
    os.chdir(folder)
    pnnx.export(block, inputs=x, ptpath="m.pt", fp16=False, ncnnparam="m.param", ncnnbin="m.bin")
    net = ncnn.Net()
    net.opt.num_threads = 1
    for option in ("vulkan_compute", "fp16_storage", "fp16_arithmetic", "fp16_packed", "bf16_storage"):
        setattr(net.opt, f"use_{option}", False)
    assert net.load_param("m.param") == 0 and net.load_model("m.bin") == 0
    extractor = net.create_extractor()
    extractor.input("in0", ncnn.Mat(x[0].numpy()))
    code, out = extractor.extract("out0")
    assert code == 0
    got = torch.from_numpy(numpy.array(out)).flatten()
    with torch.no_grad():
        want = block(x).flatten()
print("DIFFERENCE", ((got - want).abs().max() / want.abs().max()).item())
"""


@pytest.mark.parametrize("name", sorted(CASES.keys() - {"PyramidLevel"}))  # a graph without a layer
def test_ncnn(name, tmp_path):
    """In a process of its own: ncnn ends the process where it fails."""
    pytest.importorskip("ncnn")
    pytest.importorskip("pnnx")
    (tmp_path / "convert.py").write_text(NCNN)
    done = run_file([str(tmp_path / "convert.py"), name], tmp_path, PYTHONPATH=f"{ROOT}{os.pathsep}{ROOT / 'tests'}")
    assert "CONVERTING" in done.stdout, done.stderr
    found = re.search(r"^DIFFERENCE (\S+)$", done.stdout, re.M)
    if refused(name, "ncnn"):
        assert not (found and float(found[1]) < 1e-4)
    else:
        assert found, done.stderr[-2000:]
        assert float(found[1]) < 1e-4


def litert(block, x, folder):
    library, runtime = pytest.importorskip("litert_torch"), pytest.importorskip("ai_edge_litert.interpreter")
    library.convert(block, (x,)).export(str(folder / "m.tflite"))
    interpreter = runtime.Interpreter(model_path=str(folder / "m.tflite"), num_threads=1)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x.numpy())
    interpreter.invoke()
    return torch.from_numpy(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))


def executorch(block, x, folder):
    exir, runtime = pytest.importorskip("executorch.exir"), pytest.importorskip("executorch.runtime")
    partitioner = pytest.importorskip("executorch.backends.xnnpack.partition.xnnpack_partitioner")
    program = exir.to_edge_transform_and_lower(
        torch.export.export(block, (x,)), partitioner=[partitioner.XnnpackPartitioner()]
    )
    (folder / "m.pte").write_bytes(program.to_executorch().buffer)
    return runtime.Runtime.get().load_program(folder / "m.pte").load_method("forward").execute([x])[0]


@pytest.mark.parametrize("convert", [litert, executorch])
@pytest.mark.parametrize("name", sorted(CASES.keys() - {"PyramidLevel"}))
def test_mobile_formats(name, convert, tmp_path, capfd):
    """Where their packages are installed: ``pip install litert-torch executorch``."""
    block, x = OneMap(*CASES[name]).eval(), torch.randn(IMAGE)
    with torch.no_grad():
        want = block(x)
    if not refused(name, convert.__name__):
        got = convert(block, x, tmp_path)
        assert (got - want).abs().max() < 1e-4 * want.abs().max()
        return
    pytest.importorskip("litert_torch" if convert is litert else "executorch")
    with pytest.raises((ValueError, RuntimeError)):
        convert(block, x, tmp_path)
    capfd.readouterr()  # the converters print their graphs


def test_every_refused_layer_is_named_with_its_options():
    lsh = [-1, 1, "MultiHeadGlobalAttention", [{"kernel": "reformer"}]]
    rows = [[-1, 1, "HardAttn", []], [-1, 1, "Conv", [64, 3]], lsh]
    found = list(export_limits.refusals({"backbone": rows[:2], "head": rows[2:]}, "engine", None))
    assert len(found) == 1
    assert re.search(r"format=engine: layer 2 \(MultiHeadGlobalAttention, kernel: reformer\).*kernel: linear", found[0])
    found = list(export_limits.refusals({"backbone": rows[:2], "head": rows[2:]}, "ncnn", None))
    assert [re.search(r"layer (\d)", f)[1] for f in found] == ["0", "2"]
    assert not list(export_limits.refusals({"backbone": rows[:2], "head": rows[2:]}, "onnx", None))
    found = list(export_limits.refusals({"backbone": rows[:2], "head": rows[2:]}, "onnx", 10))
    assert [re.search(r"opset=10: layer (\d) .*opset=(\d+)", f).groups() for f in found] == [("0", "16"), ("2", "11")]


def test_formats_without_an_opset():
    row = [-1, 1, "GlobalLocalAttention", []]
    assert list(export_limits.refusals({"head": [row]}, "onnx", 10))
    assert not list(export_limits.refusals({"head": [row]}, "torchscript", 10))  # Ultralytics refuses the argument


@pytest.mark.parametrize("alias", ["TensorRT", "trt", "engine"])
def test_other_names_of_a_format(alias):
    row = [-1, 1, "GlobalLocalAttention", [{"kernel": "reformer", "position": "none"}]]
    with pytest.raises(ArgumentError, match=r"format=engine: layer 0"):
        export_limits.check({"head": [row]}, alias, None)


HEAVY = """
import sys
from ultralytics.cfg import entrypoint
try:
    entrypoint("yolo export model=yolo11n-harm.yaml format=ncnn imgsz=64")
finally:
    print({"ncnn", "pnnx", "onnx"} & set(sys.modules), file=sys.stderr)
"""


def test_refused_before_anything_is_imported(tmp_path):
    out = run(HEAVY, tmp_path, fails=True)
    assert "set()" in out
    assert "Traceback" not in out
    lines = [line for line in out.splitlines() if line.startswith("yolo: format=ncnn: layer ")]
    assert len(lines) == 1
    assert "HarmAttn" in lines[0]


def test_refused_by_every_entry(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    yolo_attn.install()
    with pytest.raises(ArgumentError, match=r"opset=13: layer 11 \(GlobalLocalAttention, kernel: softmax\).*opset=14"):
        YOLO("yolo11n-gla.yaml").export(format="onnx", opset=13, imgsz=64)
    assert main(["export", "model=yolo11n-gla.yaml", "format=ncnn", "imgsz=64"]) == 2
    assert re.search(r"^yolo-attn: format=ncnn: layer 11 .*GlobalContext", capfd.readouterr().err, re.M)


def test_stock_models_are_not_touched(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    yolo_attn.install()
    assert YOLO("yolo11n.yaml").export(format="torchscript", imgsz=64, device="cpu")


def test_a_layer_of_one_size(tmp_path, monkeypatch, own_layers):
    """It exports at that size; ``dynamic=True`` is refused."""
    monkeypatch.chdir(tmp_path)
    yolo_attn.install()
    limit = ExportLimit(formats=("torchscript",), dynamic=True, reason="its size is fixed")
    ema = BLOCKS["EMA"]
    own_layers.BLOCKS["EMA"] = dataclasses.replace(ema, export_limits=(*ema.export_limits, limit))
    options = {"format": "torchscript", "imgsz": 64, "device": "cpu"}
    formats = export_formats()
    if "dynamic" in dict(zip(formats["Argument"], formats["Arguments"], strict=True))["torchscript"]:
        with pytest.raises(
            ArgumentError, match=r"format=torchscript dynamic=True: layer \d+ \(EMA\) .* size is fixed$"
        ):
            YOLO("yolo11n-ema.yaml").export(dynamic=True, **options)
    assert YOLO("yolo11n-ema.yaml").export(**options)


@pytest.mark.parametrize("opset", [0, 99])
def test_a_limit_of_dynamic_graphs(opset, own_layers):
    """For one format, or for low opsets."""
    formats = () if opset else ("onnx",)
    limit = ExportLimit(formats=formats, opset=opset, dynamic=True, reason="x")
    own_layers.BLOCKS["SoftAttn"] = dataclasses.replace(BLOCKS["SoftAttn"], export_limits=(limit,))
    model = {"head": [[-1, 1, "SoftAttn", []]]}
    assert not list(export_limits.refusals(model, "onnx", 20))
    assert len(list(export_limits.refusals(model, "onnx", 20, dynamic=True))) == 1
    with pytest.raises(ArgumentError, match=r"^(format=onnx|opset=20) dynamic=True: layer 0 \(SoftAttn\)"):
        export_limits.check(model, "onnx", 20, dynamic=True)


# Forms: how exported graphs compute a block


def operations(name):
    with torch.no_grad():
        graph = export_contract.trace(OneMap(*CASES[name]).eval(), torch.randn(IMAGE)).inlined_graph
    return [node.kind() for node in graph.nodes()]


@every_case
def test_the_form_for_a_format(name):
    """The graph differs from the others exactly where the registry says so."""
    plain = operations(name)
    declared = {target for form in CASES[name][0].export_forms for target in form.formats}
    different = set()
    for target in export_formats()["Argument"]:
        with functional.export_to(target):
            different |= {target} if operations(name) != plain else set()
    assert different == declared


@pytest.mark.parametrize("block", SHIPPED)
def test_the_form_for_all_formats(block, monkeypatch):
    """With one of its options at least, the graph is not what PyTorch computes outside of graphs."""
    for module in (attention_augmented, attention_kernels):  # few scores at once, as on large maps
        monkeypatch.setattr(module, "MAX_SCORES", dict.fromkeys(("cpu", "cuda", "graph"), 2**14))
    names = [name for name, (spec, _) in CASES.items() if spec.name == block]
    graphs = [operations(name) for name in names]
    for module, content in list(sys.modules.items()):
        if module.startswith("yolo_attn.blocks.") and hasattr(content, "building_graph"):
            monkeypatch.setattr(content, "building_graph", lambda: False)
    declared = any(not form.formats for form in BLOCKS[block].export_forms)
    assert (graphs != [operations(name) for name in names]) == declared


@pytest.mark.fast
def test_a_limit_names_what_and_why():
    with pytest.raises(ValueError, match=r"must name formats or an opset; its reason is 'x'"):
        ExportLimit(reason="x")
    with pytest.raises(ValueError, match=r"must have a reason; it is for \('ncnn',\)"):
        ExportLimit(formats=("ncnn",), reason="")
    limit = ExportLimit(formats=("ncnn",), options={"kernal": (1,)}, reason="x")
    with pytest.raises(ValueError, match=r"export_limits names \['kernal'\]"):
        yolo_attn.register("Limited", export_limits=[limit])(BLOCKS["EMA"].cls)
