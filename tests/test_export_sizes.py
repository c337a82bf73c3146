"""Exported graphs of every block and option that changes the graph: right at other sizes and batches than their own.

The blocks alone, in the runtimes that Ultralytics exports to and pip has for every platform. The conversions are those
of Ultralytics: ``torch.jit.trace``, and ``torch.onnx.export`` without dynamo, with and without onnxslim.
"""

import pytest
import torch
from export_cases import CASES, CHANNELS, OneMap, refused

from yolo_attn.blocks import attention_augmented
from yolo_attn.blocks.nn import attention_kernels
from yolo_attn.registry import BLOCKS
from yolo_attn.testing import export_contract

pytestmark = [
    pytest.mark.export,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:`torch.jit.trace", "ignore:The feature will be"),
    pytest.mark.filterwarnings("ignore::UserWarning:torch.onnx", "ignore::torch.jit.TracerWarning"),
]
TRACED, OTHERS = export_contract.traced_at(CHANNELS), export_contract.other_sizes(CHANNELS)


@pytest.fixture(params=CASES.values(), ids=CASES)
def block(request):
    return OneMap(*request.param).eval()


def assert_right(block, exported, sizes):
    assert export_contract.wrong_size(block, exported, sizes) == ""


def onnx_of(block, **options):
    return export_contract.onnx_of(block, CHANNELS, **options)


def onnx_runtime(content):
    pytest.importorskip("onnxruntime")
    return export_contract.onnx_runtime(content)


def openvino(block):
    library = pytest.importorskip("openvino")
    x = torch.randn(TRACED)
    model = library.convert_model(export_contract.trace(block, x), example_input=x)
    exact = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    compiled = library.Core().compile_model(model, "CPU", exact)
    return lambda x: torch.from_numpy(next(iter(compiled(x.numpy()).values())).copy())


def test_torchscript(block):
    traced = export_contract.trace(block, torch.randn(TRACED))
    assert_right(block, traced, [TRACED, *OTHERS])


def test_onnx_of_any_size(block):
    """Also simplified: simplifiers fold padding that is computed from sizes in the wrong place."""
    onnx, onnxslim = pytest.importorskip("onnx"), pytest.importorskip("onnxslim")
    content = onnx_of(block)
    assert_right(block, onnx_runtime(content), [TRACED, *OTHERS])
    simplified = onnxslim.slim(onnx.load_from_string(content)).SerializeToString()
    assert_right(block, onnx_runtime(simplified), [TRACED, *OTHERS])


@pytest.mark.parametrize("opset", [17, 20])
def test_onnx_of_one_size(block, opset):
    pytest.importorskip("onnx")
    assert_right(block, onnx_runtime(onnx_of(block, dynamic=False, opset=opset)), [TRACED])


def test_openvino_of_any_size(block):
    assert_right(block, openvino(block), [TRACED, *OTHERS])


def test_torch_export_of_any_batch(block):
    batch = torch.export.Dim("batch", min=1, max=8)
    program = torch.export.export(block, (torch.randn(2, *TRACED[1:]),), dynamic_shapes=({0: batch},))
    assert_right(block, program.module(), [TRACED, OTHERS[0]])


@pytest.mark.parametrize("name", CASES)
def test_torch_export_of_any_size(name):
    """Where the registry refuses it, torch raises, or the program refuses other sizes than its own."""
    block = OneMap(*CASES[name]).eval()

    def side(letter):
        return block.pool * torch.export.Dim(letter, min=4 // block.pool, max=64 // block.pool)

    sizes = {0: torch.export.Dim("batch", min=1, max=8), 2: side("h"), 3: side("w")}
    try:
        program = torch.export.export(block, (torch.randn(2, *TRACED[1:]),), dynamic_shapes=(sizes,))
        wrong = export_contract.wrong_size(block, program.module(), [TRACED, *OTHERS])
    except torch._dynamo.exc.UserError as error:
        wrong = str(error)
    assert bool(wrong) == bool(refused(name, "torch.export", dynamic=True)), wrong
    assert not refused(name, "torch.export")


@pytest.mark.parametrize("name", ["AttentionAugmentedConv", "GlobalLocalAttention"])
def test_large_maps_attend_part_by_part_at_any_size(name, monkeypatch):
    """With more queries than a graph computes at once, as at 1280 pixels."""
    onnx, onnxslim = pytest.importorskip("onnx"), pytest.importorskip("onnxslim")
    monkeypatch.setattr(attention_augmented, "MAX_SCORES", {"cpu": 2**16, "cuda": 0})
    monkeypatch.setitem(attention_kernels.MAX_SCORES, "graph", 2**16)
    block = OneMap(BLOCKS[name], {"heads": 4}).eval()
    traced = export_contract.trace(block, torch.randn(TRACED))
    assert str(traced.inlined_graph).count("aten::scaled_dot_product_attention") == 4  # of 4 * 240 * 240 scores
    assert_right(block, traced, [TRACED, *OTHERS])
    simplified = onnxslim.slim(onnx.load_from_string(onnx_of(block))).SerializeToString()
    assert_right(block, onnx_runtime(simplified), [TRACED, *OTHERS])
    assert_right(block, openvino(block), [TRACED, *OTHERS])
