"""Operations counted beside the counts that a sheet of paper gives."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from ultralytics import YOLO

from yolo_attn.blocks import GlobalLocalAttention
from yolo_attn.integration.queries import gflops_count, model_graph, model_sizes
from yolo_attn.integration.queries.gflops_count import ATTENTION, operations


class Layer(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *x):
        return self.function(*x)


def counted(function, *shapes, dtype=torch.float32):
    return operations(Layer(function), *(torch.randn(shape, dtype=dtype) for shape in shapes))


QUERIES, KEYS, VALUES = (2, 3, 10, 8), (2, 3, 7, 8), (2, 3, 7, 5)
PRODUCTS = 2 * 2 * 3 * 10 * 7 * (8 + 5)


@pytest.mark.parametrize(
    "attention",
    [
        F.scaled_dot_product_attention,
        lambda q, k, v: torch.einsum("bhqk,bhkd->bhqd", torch.einsum("bhqd,bhkd->bhqk", q, k).softmax(3), v),
        lambda q, k, v: (q @ k.transpose(2, 3)).softmax(3) @ v,
        lambda q, k, v: torch.bmm(torch.bmm(q.flatten(0, 1), k.flatten(0, 1).mT).softmax(2), v.flatten(0, 1)),
    ],
    ids=["sdpa", "einsum", "matmul", "bmm"],
)
@pytest.mark.fast
def test_attention_counts_the_same_however_it_is_written(attention):
    assert counted(attention, QUERIES, KEYS, VALUES) == PRODUCTS


@pytest.mark.parametrize("backend", ["MATH", "FLASH_ATTENTION"])
@pytest.mark.parametrize("mask", [False, True])
def test_attention_counts_the_same_with_every_kernel_of_the_cpu(backend, mask):
    from torch.nn.attention import SDPBackend, sdpa_kernel

    def attention(q, k, v):
        return F.scaled_dot_product_attention(q, k, v, attn_mask=torch.zeros(10, 7) if mask else None)

    with sdpa_kernel(getattr(SDPBackend, backend)):
        assert counted(attention, QUERIES, KEYS, (*VALUES[:3], 8)) == PRODUCTS // 13 * 16


@pytest.mark.parametrize("name", ATTENTION)
def test_attention_counts_the_same_with_the_kernels_of_other_devices(name):
    """On tensors without contents, which know the shapes that each kernel returns."""
    kernel = getattr(torch.ops.aten, name, None)
    if kernel is None:
        pytest.skip(f"this torch has no aten.{name}")
    q, k, v = (torch.empty(2, 3, n, 8, device="meta") for n in (10, 7, 7))
    efficient, cudnn = (f"_scaled_dot_product_{kind}_attention" for kind in ("efficient", "cudnn"))
    more = {efficient: (None, False), cudnn: (None, True)}.get(name, ())
    try:
        kernel(q, k, v, *more)
    except (NotImplementedError, RuntimeError) as error:
        pytest.skip(f"aten.{name} has no version without a device: {type(error).__name__}")
    assert operations(Layer(lambda: kernel(q, k, v, *more))) == PRODUCTS // 13 * 16


def test_several_query_heads_may_share_a_key():
    shared = (2, 1, 7, 8)
    found = counted(lambda q, k, v: F.scaled_dot_product_attention(q, k, v, enable_gqa=True), QUERIES, shared, shared)
    assert found == PRODUCTS // 13 * 16


def test_multihead_attention_in_eval_mode_is_counted():
    tokens, width = 2 * 9, 16
    projections, products = 4 * tokens * width * width, tokens * 9 * 2 * width
    attention = nn.MultiheadAttention(width, 4, batch_first=True).eval()
    found = counted(lambda x: attention(x, x, x)[0], (2, 9, width))
    assert found == 2 * (projections + products)
    assert torch.backends.mha.get_fastpath_enabled()  # as it was
    encoder = nn.TransformerEncoderLayer(width, 4, 32, batch_first=True).eval()
    assert operations(encoder, torch.randn(2, 9, width)) == 2 * (projections + products + 2 * tokens * width * 32)


@pytest.mark.parametrize(
    ("layer", "shape", "multiply_adds"),
    [
        (nn.Conv2d(6, 8, 3, padding=1, groups=2), (2, 6, 7, 5), 2 * 8 * 35 * 27),
        (nn.Conv2d(6, 8, 3, stride=2), (1, 6, 7, 5), 8 * 6 * 54),
        (nn.ConvTranspose2d(6, 8, 2, stride=2), (1, 6, 7, 5), 35 * 6 * 8 * 4),
        (nn.Linear(6, 8), (4, 5, 6), 20 * 48),
        (nn.BatchNorm2d(6).eval(), (2, 6, 7, 5), 0),
        (Layer(lambda x: torch.mv(x, x[0])), (4, 5), 20),
        (Layer(lambda x: torch.dot(x[0], x[1])), (4, 5), 5),
        (Layer(lambda x: torch.addmv(x[:, 0], x, x[0])), (4, 5), 20),
        (Layer(lambda x: torch.addbmm(x[0], x, x.mT @ x)), (3, 4, 4), 2 * 3 * 64),
        (Layer(lambda x: F.interpolate(x, scale_factor=2, mode="bilinear")), (2, 3, 4, 5), 4 * 6 * 80),
        (Layer(lambda x: F.interpolate(x, scale_factor=2, mode="nearest")), (2, 3, 4, 5), 0),
        (Layer(lambda x: F.grid_sample(x, torch.zeros(2, 7, 1, 2), align_corners=False)), (2, 3, 4, 5), 4 * 6 * 7),
        (Layer(lambda x: x * x.mean((2, 3), keepdim=True).sigmoid()), (2, 3, 4, 5), 0),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.fast
def test_layers(layer, shape, multiply_adds):
    assert operations(layer, torch.randn(shape)) == 2 * multiply_adds


def test_fourier_transforms():
    values = 2 * 16 * 8
    assert counted(torch.fft.fft2, (2, 16, 8), dtype=torch.complex64) == 5 * values * 7
    assert counted(torch.fft.rfft2, (2, 16, 8)) == 5 * values * 7 / 2
    assert counted(torch.fft.irfft2, (2, 16, 5), dtype=torch.complex64) == 5 * values * 7 / 2
    assert counted(lambda x: torch.fft.rfft(x, dim=1), (2, 16, 8)) == 5 * values * 4 / 2


C, HEADS, H, W = 16, 4, 12, 10
D, N = C // HEADS, H * W


def windows(side, keys=None, before=0, heads=HEADS):
    """The products of attention within windows; the map is filled up to whole ones."""
    rows, columns = (1 if side >= n else math.ceil((n + before) / side) for n in (H, W))
    sides = [side if side < n else n for n in (H, W)]
    seen = [keys if keys and side < n else s for s, n in zip(sides, (H, W), strict=True)]
    return rows * columns * math.prod(sides) * math.prod(seen) * 2 * D * heads


VARIANTS = {
    "global": ({}, 2 * N * N * C),
    "rope": ({"position": "rope"}, 2 * N * N * C),
    "no position": ({"position": "none"}, 2 * N * N * C),
    "absolute": ({"position": "absolute", "position_size": 20}, 2 * N * N * C + 4 * C * N),
    "window": ({"extent": "window", "window": 4}, windows(4)),
    "window beyond the map": ({"extent": "window", "window": 11}, windows(11)),
    "dynamic": ({"extent": "window", "window": "dynamic", "divisions": 2}, 4 * 30 * 30 * 2 * C),
    "shifted": ({"extent": "shifted", "window": 4, "shift": 1}, windows(4, before=3)),
    "overlap": ({"extent": "overlap", "window": 4, "overlap": 2}, windows(4, keys=8)),
    "multiscale": ({"extent": "multiscale", "windows": [3, 5]}, windows(3, heads=2) + windows(5, heads=2)),
    "performer": ({"kernel": "performer", "features": 9, "position": "none"}, HEADS * N * 9 * (2 * D + 2 * D + 1)),
    "linear, elu": ({"kernel": "linear", "position": "none"}, HEADS * N * (2 * D * D + D)),
    "linear, softmax": ({"kernel": "linear", "feature_map": "softmax", "position": "none"}, HEADS * N * 2 * D * D),
    "linformer": (
        {"kernel": "linformer", "position": "none", "linformer_size": 7, "linformer_grid": [5, 6]},
        2 * (C * H * W * 6 + C * 5 * H * 6) + 2 * C * 30 * 7 + 2 * N * 7 * C,
    ),
    "reformer": (
        {"kernel": "reformer", "position": "none", "hashes": 3, "bucket_size": 16},
        3 * HEADS * (N * D * 8 + 8 * 16 * 32 * 2 * D) - N * C * C,
    ),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_every_kind_of_global_local_attention(name):
    options, multiply_adds = VARIANTS[name]
    block = GlobalLocalAttention(C, HEADS, **options).eval()
    local = N * C * C * (1 + 9 + 25) + 2 * C * 1
    projections = N * C * 3 * C + N * C * C  # Reformer has no keys of its own: one C less
    assert operations(block, torch.randn(1, C, H, W)) == 2 * (local + projections + multiply_adds)
    assert all(p.requires_grad for p in block.parameters())  # as it was


@pytest.mark.parametrize("name", ["yolo26n.yaml", "yolo11n-gla.yaml"])
def test_capacity_controls_and_cost_table_count_alike(name):
    """The shapes alone give the count of a forward pass with values: fused, and with one of yolo26's two heads."""
    model = YOLO(name).model
    before = {key: value.shape for key, value in model.state_dict().items()}
    count = model_sizes.gflops(model_graph.load(name))
    assert count == gflops_count.model_gflops(model)
    assert {key: value.shape for key, value in model.state_dict().items()} == before
    assert count == operations(gflops_count.fused(model), torch.zeros(1, 3, 640, 640)) / 1e9


@pytest.mark.fast
def test_a_model_by_hand():
    """Two convolutions and Detect: a branch for boxes (64 channels), one for classes (16), and the distances."""
    rows = {"backbone": [[-1, 1, "Conv", [8, 3, 8]]], "head": [[-1, 1, "Conv", [16, 1, 1]], [[1], 1, "Detect", [2]]]}
    cells = 8 * 8
    convolutions = 3 * 8 * 9 + 8 * 16
    boxes = 16 * 64 * 9 + 64 * 64 * 9 + 64 * 64
    classes = 16 * 16 * 9 + 16 * 16 * 9 + 16 * 2
    distances = 4 * 16  # the expected distance of each side, a convolution over 16 bins
    expected = 2 * cells * (convolutions + boxes + classes + distances) / 1e9
    assert model_sizes.gflops({**rows, "nc": 2}, imgsz=64) == pytest.approx(expected, rel=1e-12)
