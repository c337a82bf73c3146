"""GlobalLocalAttention against a loop, and each line of its deviations."""

import inspect

import pytest
import torch
from loop_oracles.global_attention import attention
from loop_oracles.improved_local import improved_local
from oracles import arrays, assert_same

from yolo_attn.blocks import GlobalLocalAttention, ImprovedLocalAttention, MultiHeadGlobalAttention
from yolo_attn.testing.block_inputs import randomised


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
    x = torch.randn(2, 8, *size, dtype=torch.float64)
    loop = {k: v for k, v in far.items() if k != "position"}
    want = attention(x.numpy(), part(block, "attention"), 2, **loop)
    assert_same(block(x), want + improved_local(x.numpy(), part(block, "local"), near.get("fuse", "sum")))


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
    assert torch.equal(block(x), block.local(x) + attention(x))


def test_options_reach_the_local_branch():
    block = GlobalLocalAttention(16, reduction=4, fuse="concat", depthwise=True)
    twin = ImprovedLocalAttention(16, reduction=4, fuse="concat", depthwise=True)
    assert {n: p.shape for n, p in block.local.named_parameters()} == {n: p.shape for n, p in twin.named_parameters()}
