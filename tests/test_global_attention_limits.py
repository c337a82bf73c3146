"""Each line of the deviations and limits of MultiHeadGlobalAttention, and what its softmax runs on."""

import copy
import sys

import pytest
import torch
import torch.nn.functional as F
from oracles import LargestTensor
from support import run
from torch.utils._python_dispatch import TorchDispatchMode

from yolo_attn.blocks import MultiHeadGlobalAttention, functional
from yolo_attn.blocks.nn import attention_kernels
from yolo_attn.blocks.nn.attention_kernels import LinearAttention, PerformerAttention, SoftmaxAttention
from yolo_attn.blocks.nn.reformer import MAX_BUCKETS, ReformerAttention
from yolo_attn.testing.block_inputs import randomised

FORMS = [
    {},
    {"position": "none"},
    {"position": "rope"},
    {"position": "absolute"},
    {"extent": "window"},
    {"extent": "shifted", "position": "none"},
    {"extent": "overlap", "window": "dynamic"},
    {"extent": "multiscale", "windows": [4, 8, 16]},
    {"kernel": "performer", "position": "rope"},
    {"kernel": "performer", "position": "none", "extent": "shifted"},
    {"kernel": "linear", "position": "none"},
    {"kernel": "linear", "position": "none", "extent": "window", "feature_map": "softmax"},
    {"kernel": "linformer", "position": "none", "linformer_grid": 8},
    {"kernel": "reformer", "position": "none"},
    {"kernel": "reformer", "position": "rope", "bucket_size": 48},
]
every_form = pytest.mark.parametrize("options", FORMS, ids=lambda o: "-".join(map(str, o.values())) or "default")


def drawn(*shape):
    return torch.randn(*shape, dtype=torch.float64)


# Deviations


def test_no_dropout():
    block = randomised(MultiHeadGlobalAttention(16, 2).double())
    x = drawn(2, 16, 5, 6)
    assert torch.equal(block.train()(x), block.eval()(x))


def test_performers_features_are_never_below_their_eps():
    features = PerformerAttention(4, 16).features_of(drawn(1, 1, 5, 4) * 100, None, (3,))
    torch.testing.assert_close(features.min(), torch.tensor(1e-4 / 4, dtype=torch.float64))


def test_reformer_has_at_most_128_buckets():
    block = ReformerAttention(4, 1, 2)
    with LargestTensor() as largest:
        orders = block.sort_by_hash(drawn(1, 1, 1000, 4))  # 500 pairs
    assert MAX_BUCKETS == 128
    assert largest.elements == 1000 * 128
    assert orders.sort(3).values.tolist() == [[[list(range(1000))]]]


def test_linear_attention_to_nothing_is_nothing():
    q = torch.full((1, 1, 2, 2, 4), -200.0)  # elu + 1 = 0
    assert torch.equal(LinearAttention("elu")(q, q, torch.randn(1, 1, 2, 2, 4)), torch.zeros(1, 1, 2, 2, 4))


def test_windows_stay_unshifted_along_an_axis_that_one_spans():
    block = MultiHeadGlobalAttention(8, 2, extent="shifted", window=4)
    assert [block.axis(n, 4).before for n in (1, 3, 4, 5, 12)] == [0, 0, 0, 2, 2]
    x = drawn(1, 8, 4, 12)
    block = randomised(block.double())
    columns = [block(x[..., a:b]) for a, b in ((0, 2), (2, 6), (6, 10), (10, 12))]
    torch.testing.assert_close(block(x), torch.cat(columns, 3))


@every_form
def test_an_optimizer_for_matrices_gets_matrices_only(options):
    """MuSGD takes 2-D and 4-D parameters, and decays all whose names hold no ``bias``; biases need no index."""
    block = MultiHeadGlobalAttention(64, **options)
    assert {n for n, _ in block.named_buffers()} <= {"kernel.projection_matrix", "kernel.rotations"}
    for name, parameter in block.named_parameters():
        matrix = name in ("qkv.weight", "out.weight", "kernel.proj_k", "kernel.proj_v")
        assert matrix or (parameter.ndim == 1 and "bias" in name)


# Memory and time


class Operations(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.names = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.add(func.__name__.split(".")[0])
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize(
    ("position", "heads"),
    [("none", 8), ("absolute", 8), ("rope", 8), ("rope_mixed", 8), ("relative", 32), ("relative", 12), ("relative", 8)],
)
def test_global_softmax_runs_on_the_fused_kernel(position, heads, dtype):
    """With relative biases, where they need no gradient."""
    block = MultiHeadGlobalAttention(96, heads, position=position).to(dtype)
    trains = position != "relative"
    with torch.set_grad_enabled(trains), Operations() as operations:
        y = block(torch.randn(2, 96, 9, 7, dtype=dtype, requires_grad=trains))
        if trains:
            y.float().sum().backward()
    assert any("flash_attention" in name for name in operations.names)
    assert not [name for name in operations.names if "softmax" in name]


@every_form
def test_no_tensor_grows_with_the_square_of_the_map(options, monkeypatch):
    monkeypatch.setitem(attention_kernels.MAX_SCORES, "cpu", 2**15)  # so that small maps have several blocks
    largest = []
    for side in (16, 32):
        block = MultiHeadGlobalAttention(16, 4, **options)
        with LargestTensor() as most:
            block(torch.randn(1, 16, side, side, requires_grad=True)).sum().backward()
        largest.append(most.elements)
    assert largest[1] <= 4.5 * largest[0]
    assert largest[1] < 32**4


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in KiB on Linux only")
def test_80_by_80_trains_within_2_gib(tmp_path):
    """Also for AttentionAugmentedConv, which has kernels of its own. ru_maxrss is a maximum: the smaller first."""
    code = """
    import resource, torch
    from yolo_attn.blocks import AttentionAugmentedConv, MultiHeadGlobalAttention
    torch.set_num_threads(1)
    def peak():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # GiB
    blocks = MultiHeadGlobalAttention(64), AttentionAugmentedConv(64, 64)
    for block in blocks:
        block(torch.randn(1, 64, 8, 8)).sum().backward()
    before = peak()
    for block in blocks:
        x = torch.randn(1, 64, 80, 80, requires_grad=True)
        block(x).square().mean().backward()
        assert x.grad.isfinite().all()
        print(peak() - before)
    """
    first, both = map(float, run(code, tmp_path).split())
    assert first < 1.0
    assert both < 2.0


@pytest.mark.parametrize("scores", [1, 150, 400, 2000, 10**9])
@pytest.mark.parametrize("extent", ["global", "shifted"])
def test_blocks_of_queries_change_nothing(scores, extent, monkeypatch):
    """From one query at a time to all at once: outputs and all gradients."""
    sizes = {"position_size": 4} if extent == "global" else {"window": 4}
    block = randomised(MultiHeadGlobalAttention(8, 2, extent=extent, **sizes).double())
    x, cotangent = drawn(2, 8, 5, 7).requires_grad_(), drawn(2, 8, 5, 7)
    results = []
    for limit in (2**21, scores):
        monkeypatch.setitem(attention_kernels.MAX_SCORES, "cpu", limit)
        block.zero_grad()
        y = block(x)
        results.append([y, *torch.autograd.grad(y, [x, *block.parameters()], cotangent)])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-12)


def test_blocks_are_computed_again_in_the_backward_pass_but_not_in_a_graph(monkeypatch):
    monkeypatch.setitem(attention_kernels.MAX_SCORES, "cpu", 1000)
    monkeypatch.setitem(attention_kernels.MAX_SCORES, "graph", 1000)
    calls = []
    original = attention_kernels.attend_in_tile
    monkeypatch.setattr(attention_kernels, "attend_in_tile", lambda *a: calls.append(0) or original(*a))
    block, x = MultiHeadGlobalAttention(8, 2), torch.randn(1, 8, 8, 8)
    y = block(x)
    in_forward = len(calls)
    y.sum().backward()
    assert in_forward > 4
    assert len(calls) == 2 * in_forward
    monkeypatch.setattr(functional, "building_graph", lambda: True)
    calls.clear()
    block(x).sum().backward()
    assert len(calls) == in_forward


def test_reformers_rounds_are_computed_again_in_the_backward_pass():
    saved = []
    q = drawn(1, 1, 32, 32, 4).requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t.numel()) or t, lambda t: t):
        ReformerAttention(4, 2, 64)(q, q, q)
    assert max(saved) < 1024 * 128  # the scores of one round


@pytest.mark.export
@pytest.mark.parametrize("options", [FORMS[n] for n in (0, 6, 7, 9, 12, 14)], ids=str)
def test_exports_with_several_blocks(options, monkeypatch):
    monkeypatch.setitem(attention_kernels.MAX_SCORES, "graph", 2**13)
    block = randomised(MultiHeadGlobalAttention(16, 4, **options)).eval()
    x = torch.randn(2, 16, 9, 11)
    want = block(x)
    torch.testing.assert_close(torch.export.export(block, (x,)).module()(x), want, rtol=1e-4, atol=1e-4)


@pytest.mark.export
def test_a_compiled_graph_trains(monkeypatch):
    monkeypatch.setitem(attention_kernels.MAX_SCORES, "cpu", 3000)
    monkeypatch.setitem(attention_kernels.MAX_SCORES, "graph", 3000)
    block, x = randomised(MultiHeadGlobalAttention(16, 4).double()).train(), drawn(2, 16, 9, 11)
    block(x).square().sum().backward()
    want = {n: p.grad.clone() for n, p in block.named_parameters()}
    block.zero_grad()
    torch._dynamo.reset()
    torch.compile(block, backend="eager", fullgraph=True)(x).square().sum().backward()
    for name, parameter in block.named_parameters():
        torch.testing.assert_close(parameter.grad, want[name], rtol=1e-9, atol=1e-9)


@pytest.mark.export
@pytest.mark.filterwarnings("ignore:`torch.jit.trace", "ignore:Converting a tensor:torch.jit.TracerWarning")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@every_form
def test_a_traced_graph_takes_maps_of_any_size_in_batches_of_any(options):
    block = randomised(MultiHeadGlobalAttention(32, **{"heads": 4, **options})).eval()
    traced = torch.jit.trace(block, (torch.randn(1, 32, 11, 9),), check_trace=False)
    for size in ((3, 32, 11, 9), (1, 32, 24, 17), (2, 32, 3, 5), (1, 32, 1, 40)):
        x = torch.randn(size)
        torch.testing.assert_close(traced(x), block(x))


def test_large_batches_of_windows_go_to_the_kernel_in_parts(monkeypatch):
    q, k, v = (drawn(7, 2, 2, 3, 4) for _ in range(3))
    real = torch.rand(7, 2, 3) > 0.3
    real[:, 0, 0] = True
    table = drawn(2, 3, 5)
    forms = ((), (real,), (None, table), (real, table))
    want = [SoftmaxAttention()(q, k, v, *more) for more in forms]
    monkeypatch.setattr(attention_kernels, "MAX_BATCH", 3)
    torch.testing.assert_close([SoftmaxAttention()(q, k, v, *more) for more in forms], want)


# Half precision


@every_form
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_inputs_of_a_thousand_stay_finite(options, dtype):
    block = MultiHeadGlobalAttention(32, **{"heads": 4, **options})
    x = torch.randn(2, 32, 11, 9)
    x = 1e3 * x / x.abs().max()
    with torch.autocast("cpu", dtype=dtype):
        y = block(x)
    y.float().mean().backward()
    assert y.isfinite().all()
    assert all(p.grad.isfinite().all() for p in block.parameters())
    half = copy.deepcopy(block).to(dtype)
    y = half(x.to(dtype).requires_grad_())
    y.float().mean().backward()
    assert y.isfinite().all()
    assert all(p.grad.isfinite().all() for p in half.parameters())
    with torch.no_grad():
        assert half(x.to(dtype)).isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_biased_scores_that_half_precision_would_overflow(dtype):
    q, k, v = (torch.randn(1, 2, 4, 4, 8).to(dtype) for _ in range(3))
    q, k = q * 300, k * 300
    table = torch.randn(2, 7, 7).to(dtype).float()
    assert torch.matmul(q.flatten(2, 3).float(), k.flatten(2, 3).float().transpose(2, 3)).abs().max() > 65504
    want = SoftmaxAttention()(q.double(), k.double(), v.double(), None, table.double())
    for gradient in (False, True):
        y = SoftmaxAttention()(q, k, v, None, table.clone().requires_grad_(gradient))
        assert y.dtype == dtype
        torch.testing.assert_close(y.double(), want, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("extent", ["global", "window"])
def test_a_bias_with_a_gradient_is_added_in_float32(extent, monkeypatch):
    """On the CPU its scores exist, and not every torch computes them in more than half precision."""
    given = []
    original = F.scaled_dot_product_attention
    monkeypatch.setattr(
        F, "scaled_dot_product_attention", lambda q, *a, **k: given.append(q.dtype) or original(q, *a, **k)
    )
    block = MultiHeadGlobalAttention(16, 2, extent=extent).half()
    assert block(torch.randn(1, 16, 5, 6).half()).dtype == torch.half
    with torch.no_grad():
        block(torch.randn(1, 16, 5, 6).half())
    assert given == [torch.float32, torch.half]


@pytest.mark.parametrize("kernel", ["performer", "linear", "linformer", "reformer"])
def test_other_kernels_compute_in_float32(kernel):
    options = {"bucket_size": 8} if kernel == "reformer" else {}
    block = randomised(MultiHeadGlobalAttention(16, 4, kernel=kernel, position="none", **options))
    q, k, v = (torch.randn(1, 4, 6, 5, 4).half() for _ in range(3))
    half = copy.deepcopy(block).half().kernel
    block.kernel.load_state_dict(half.state_dict())  # the weights themselves are rounded
    want = block.kernel(q.float(), k.float(), v.float())
    assert torch.equal(half(q, k, v), want.half())


# Places


@pytest.mark.parametrize("kernel", ["softmax", "performer", "linear", "linformer", "reformer"])
def test_on_one_position_there_is_only_v(kernel):
    position = "relative" if kernel == "softmax" else "none"
    block = randomised(MultiHeadGlobalAttention(8, 2, kernel=kernel, position=position).double())
    x = drawn(3, 8, 1, 1)
    v = block.qkv(x)[:, -8:]
    if kernel == "linformer":
        mixtures = block.kernel.proj_v.sum(0)
        part = (block(x) - block.out(v * 0)) / (block.out(v) - block.out(v * 0))
        assert mixtures.min() <= part.min() <= part.max() <= mixtures.max()  # a mean of them, by head
        return
    torch.testing.assert_close(block(x), block.out(v), rtol=1e-5, atol=1e-5)


def test_hashes_jump():
    largest = {}
    a, b = drawn(1, 8, 6, 6), drawn(1, 8, 6, 6)
    for kernel in ("softmax", "reformer"):
        options = {"bucket_size": 4} if kernel == "reformer" else {}
        block = randomised(MultiHeadGlobalAttention(8, 2, kernel=kernel, position="none", **options).double())
        with torch.no_grad():
            path = block(torch.lerp(a, b, torch.linspace(0, 1, 301).double().reshape(-1, 1, 1, 1)))
        steps = path.diff(dim=0).flatten(1).norm(dim=1)
        largest[kernel] = steps.max() / steps.median()
    assert largest["softmax"] < 5
    assert largest["reformer"] > 5
