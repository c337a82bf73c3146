"""GlobalLocalAttention against a loop, and each line of its deviations."""

import inspect

import pytest
import torch
from loop_oracles.global_attention import attention
from loop_oracles.improved_local import improved_local
from oracles import arrays, assert_same, randomised
from torch import nn

from yolo_attn.blocks import GlobalLocalAttention, ImprovedLocalAttention, MultiHeadGlobalAttention


def drawn(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def part(block, name):
    return {k.removeprefix(f"{name}."): v for k, v in arrays(block).items() if k.startswith(f"{name}.")}


@pytest.mark.parametrize("size", [(1, 1), (5, 3), (4, 7)], ids=str)
@pytest.mark.parametrize(
    ("far", "near"),
    [
        ({}, {}),
        ({"extent": "shifted", "window": 3, "position": "none"}, {"fuse": "concat", "reduction": 2}),
        ({"kernel": "linear", "position": "none"}, {"depthwise": True}),
    ],
    ids=str,
)
def test_global_local(far, near, size):
    block = randomised(GlobalLocalAttention(8, 2, **far, **near).double()).eval()
    x = drawn(2, 8, *size)
    near = {k: v for k, v in near.items() if k != "reduction"}
    loop = {k: v for k, v in far.items() if k != "position"}
    want = attention(x.numpy(), part(block, "attention"), 2, **loop)
    assert_same(block(x), want + improved_local(x.numpy(), part(block, "local"), **near))


def test_it_is_the_sum_of_its_branches():
    block = randomised(GlobalLocalAttention(8, 2, window=3, extent="overlap").double()).eval()
    x = drawn(2, 8, 6, 5)
    torch.testing.assert_close(block(x), block.local(x) + block.attention(x))


def test_it_has_every_option_of_its_branches_with_their_defaults():
    def options(cls):
        return {n: p.default for n, p in inspect.signature(cls).parameters.items()}

    assert options(GlobalLocalAttention) == options(MultiHeadGlobalAttention) | options(ImprovedLocalAttention)


@pytest.mark.parametrize(
    "options",
    [
        {"heads": 4, "kernel": "performer", "position": "rope", "features": 9},
        {"extent": "window", "window": 3, "qkv_bias": True},
        {"extent": "shifted", "window": 5, "shift": 1},
        {"extent": "overlap", "window": "dynamic", "divisions": 3, "overlap": 1, "position_size": 7},
        {"extent": "multiscale", "windows": [2, 5]},
        {"position": "rope_mixed", "heads": 2, "theta": 3.0},
        {"kernel": "linear", "position": "none", "feature_map": "softmax"},
        {"kernel": "linformer", "position": "none", "linformer_size": 5, "linformer_grid": [2, 3]},
        {"kernel": "reformer", "position": "none", "hashes": 3, "bucket_size": 4},
    ],
    ids=str,
)
def test_options_reach_the_attention(options):
    torch.manual_seed(1)
    block = GlobalLocalAttention(16, **options).eval()
    torch.manual_seed(1)
    attention = MultiHeadGlobalAttention(16, **options)
    x = torch.randn(1, 16, 7, 6)
    assert torch.equal(block(x) - block.local(x), block.local(x) + attention(x) - block.local(x))


def test_options_reach_the_local_branch():
    block = GlobalLocalAttention(16, reduction=4, fuse="concat", depthwise=True)
    twin = ImprovedLocalAttention(16, reduction=4, fuse="concat", depthwise=True)
    assert {n: p.shape for n, p in block.local.named_parameters()} == {n: p.shape for n, p in twin.named_parameters()}


def test_starts_as_the_identity_with_residual():
    block = GlobalLocalAttention(16, residual=True)
    x = torch.randn(2, 16, 5, 6)
    assert torch.equal(block(x), x)
    assert block.attention.residual is None
    assert block.local.residual is None
    block(x).square().sum().backward()
    assert block.residual.gamma_logit_scale.grad.abs().min() > 0


def test_the_local_branch_has_three_sizes_and_a_gate():
    block = GlobalLocalAttention(16)
    assert [m.kernel_size for m in block.local.convolutions] == [(1, 1), (3, 3), (5, 5)]
    assert isinstance(block.local.excite, nn.Conv2d)


def test_attention_is_global_and_without_averages():
    block = randomised(GlobalLocalAttention(16).double()).eval()
    x = drawn(1, 16, 12, 12).requires_grad_()
    (gradient,) = torch.autograd.grad(block.attention(x)[0, :, 0, 0].sum(), x)
    assert (gradient.abs().sum(1) > 0).all()  # sees the furthest corner
    assert not [m for m in block.modules() if "Pool" in type(m).__name__]


def test_nothing_follows_the_sum():
    assert [n for n, _ in GlobalLocalAttention(16).named_children()] == ["attention", "local"]


def test_what_fills_up_windows_is_not_seen():
    """The last window, which reaches beyond the map, gives what it gives as a map of its own."""
    attention = randomised(GlobalLocalAttention(16, extent="window", window=4).double()).attention
    x = drawn(1, 16, 4, 6)
    torch.testing.assert_close(attention(x)[..., 4:], attention(x[..., 4:]))
