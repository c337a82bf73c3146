"""AttentionAugmentedConv against a slow float64 loop over the paper's formulas; each line of Deviations and Limits."""

import copy
import itertools

import pytest
import torch
from loop_oracles.attention_augmented import attention_augmented
from oracles import LargestTensor, arrays, assert_same

import yolo_attn.blocks.attention_augmented as module
from yolo_attn.blocks import AttentionAugmentedConv
from yolo_attn.blocks.functional import part_starts
from yolo_attn.testing.block_inputs import randomised


def make(channels=6, out_channels=9, **options):
    options = {"dk": 8, "dv": 4, "heads": 2, "position_size": 3, **options}
    return randomised(AttentionAugmentedConv(channels, out_channels, **options).double())


def loop(block, x, **options):
    return attention_augmented(x.numpy(), arrays(block), **{"heads": 2, "dk": 8, "dv": 4, **options})


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (5, 4), (2, 7)], ids=str)  # below, at and above the tables' size
@pytest.mark.parametrize(("kernel_size", "stride"), [(3, 1), (1, 1), (5, 2)])
def test_attention_augmented(kernel_size, stride, size):
    block = make(kernel_size=kernel_size, stride=stride)
    x = torch.randn(2, 6, *size, dtype=torch.float64)
    assert_same(block(x), loop(block, x, stride=stride))


@pytest.mark.parametrize(
    ("dk", "dv", "heads"), [(8, 4, 1), (4, 8, 4), (2, 9, 1)], ids=["one head", "wide values", "no convolution"]
)
@pytest.mark.parametrize("relative", [True, False])
@pytest.mark.parametrize("size", [(1, 1), (3, 5)], ids=str)
def test_forms(dk, dv, heads, relative, size):
    block = make(dk=dk, dv=dv, heads=heads, relative=relative, position_size=1 if relative else 20)
    x = torch.randn(2, 6, *size, dtype=torch.float64)
    assert_same(block(x), loop(block, x, heads=heads, dk=dk, dv=dv, relative=relative))
    assert (block.convolution is None) == (dv == 9)


def gradients(block, x, cotangent):
    x = x.clone().requires_grad_()
    y = block(x)
    (y * cotangent).sum().backward()
    return [y, x.grad, *(p.grad for p in block.parameters())]


@pytest.mark.parametrize("step", [1, 7, 34])
def test_parts_of_the_queries_make_no_difference(monkeypatch, step):
    block = make(dv=6, dk=4)
    x = torch.randn(2, 6, 7, 5, dtype=torch.float64)
    cotangent = torch.randn(2, 9, 7, 5, dtype=torch.float64)
    want = gradients(copy.deepcopy(block), x, cotangent)
    monkeypatch.setattr(module, "MAX_SCORES", {"cpu": step * 2 * 2 * 35 + 1, "cuda": 0})
    seen = []
    attend = module.attend_relative
    monkeypatch.setattr(module, "attend_relative", lambda *args: seen.append(args[2].shape[2]) or attend(*args))
    got = gradients(block, x, cotangent)
    sizes = [b - a for a, b in itertools.pairwise(part_starts(35, -(-35 // step)))]
    assert max(sizes) <= step
    assert seen[: len(sizes)] == sizes
    assert sorted(seen) == sorted(2 * sizes)  # once more in the backward pass
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)
    with torch.no_grad():
        torch.testing.assert_close(block(x), want[0], rtol=1e-9, atol=1e-12)


def test_keeps_no_scores_for_the_backward_pass(monkeypatch):
    monkeypatch.setattr(module, "MAX_SCORES", {"cpu": 2**16, "cuda": 0})
    block = AttentionAugmentedConv(16, 16)
    x = torch.randn(1, 16, 24, 24)
    N, kept = 24 * 24, []
    hooks = torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t)
    with LargestTensor() as largest:
        with hooks:
            y = block(x)
        y.mean().backward()
    assert largest.elements == (2 * 160 + 8) * N  # queries, keys and values
    assert sum(kept) < 8 * N * N / 2  # less than a matrix of scores per head


@pytest.mark.export
@pytest.mark.filterwarnings("ignore:`torch.jit.trace")
@pytest.mark.filterwarnings("ignore:Converting a tensor to a Python:torch.jit.TracerWarning")
def test_a_graph_holds_the_parts_themselves(monkeypatch):
    block = make()
    x = torch.randn(1, 6, 5, 4, dtype=torch.float64)
    want = block(x)
    monkeypatch.setattr(module, "MAX_SCORES", {"cpu": 2 * 20 * 7, "cuda": 0})
    traced = torch.jit.trace(block, (x,))
    assert "RecomputedParts" not in str(traced.inlined_graph)
    assert str(traced.inlined_graph).count("aten::scaled_dot_product_attention") == 3
    torch.testing.assert_close(traced(x), want)
    torch._dynamo.reset()
    compiled = torch.compile(block, backend="eager", fullgraph=True)
    monkeypatch.setattr(module.RecomputedParts, "apply", None)
    torch.testing.assert_close(compiled(x), want)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
        compiled(x)
    assert sum(n == 2 * 20 * 20 for n in kept) >= 1  # the scores of all queries
    for size in ((3, 6, 9, 9), (2, 6, 3, 8)):
        x = torch.randn(*size, dtype=torch.float64)
        with torch.no_grad():
            torch.testing.assert_close(traced(x), block(x))


def test_parts_may_be_differentiated_once(monkeypatch):
    monkeypatch.setattr(module, "MAX_SCORES", {"cpu": 2**8, "cuda": 0})
    block = make()
    x = torch.randn(1, 6, 5, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(block, x, fast_mode=True)
    (grad,) = torch.autograd.grad(block(x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        grad.sum().backward()


@pytest.mark.parametrize(
    ("out_channels", "heads", "dk", "dv"),
    [(16, 8, 160, 8), (64, 8, 160, 8), (256, 8, 160, 24), (1024, 8, 208, 104), (64, 4, 80, 8), (100, 3, 60, 9)],
)
def test_key_and_value_channels_are_the_papers_shares(out_channels, heads, dk, dv):
    block = AttentionAugmentedConv(8, out_channels, heads=heads)
    assert block.widths == [dk, dk, dv]
    assert block.qkv.out_channels == 2 * dk + dv
    assert block.convolution.out_channels == out_channels - dv


def test_upsilon_of_one_leaves_no_convolution():
    block = AttentionAugmentedConv(8, 20, upsilon=1, kappa=2, heads=3, dv=None)
    assert block.widths == [60, 60, 18]
    assert AttentionAugmentedConv(8, 16, upsilon=1).convolution is None
    assert AttentionAugmentedConv(16, 16, kappa=15).widths[0] == 240
    assert AttentionAugmentedConv(16, 4, heads=4).widths[2] == 4


@pytest.mark.parametrize("half", [False, True], ids=["autocast", "half model"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_attends_in_float32(monkeypatch, dtype, half):
    block = AttentionAugmentedConv(16, 16).eval()
    seen = []
    attend = module.attend_relative
    monkeypatch.setattr(module, "attend_relative", lambda *args: seen.extend(args[2:]) or attend(*args))
    x = 1e3 * torch.randn(1, 16, 6, 6)
    if half:
        y = block.to(dtype)(x.to(dtype))
    else:
        with torch.autocast("cpu", dtype=dtype):
            y = block(x)
    assert [t.dtype for t in seen] == [torch.float32] * 5
    assert y.isfinite().all()
    q, k = seen[:2]
    scores = torch.matmul(q, k.transpose(2, 3)) if half else torch.zeros(1)
    assert not half or scores.abs().max() > torch.finfo(torch.float16).max  # what the float32 is there for


@pytest.mark.parametrize(
    ("out_channels", "options", "message"),
    [
        (16, {"upsilon": 1.5}, r"upsilon=1\.5 .* 1; .*0\.1$"),
        (16, {"kernel_size": 4}, "kernel_size=4 .*3 or 5"),
        (16, {"dk": 20}, r"heads=8 .*dk=20.*\[1, 2, 4, 5, 10, 20\]$"),
        (16, {"dv": 12}, r"heads=8 .*dv=12.*\[1, 2, 3, 4, 6, 12\]$"),
        (4, {}, "dv=8 .*out_channels=4.*heads=8"),
        (16, {"dv": 24}, "dv=24 .*out_channels=16"),
        (32, {"residual": True}, "residual=True .*channels=16, out_channels=32, stride=1"),
        (16, {"residual": True, "stride": 2}, "residual=True .*channels=16, out_channels=16, stride=2"),
    ],
    ids=str,
)
def test_says_what_is_wrong(out_channels, options, message):
    with pytest.raises(ValueError, match=f"^AttentionAugmentedConv: {message}"):
        AttentionAugmentedConv(16, out_channels, **options)


def test_tables_are_no_matrices():
    block = AttentionAugmentedConv(8, 16)
    assert [p.shape for n, p in block.named_parameters() if n.startswith("relative")] == [(20 * 39,)] * 2
    assert 0.15 < block.relative_rows.std() < 0.3  # 20 ** -0.5 = 0.22
