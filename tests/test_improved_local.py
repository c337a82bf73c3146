"""ImprovedLocalAttention against a slow float64 loop over its formulas, and each line of Deviations and Limits."""

import pytest
import torch
from loop_oracles.improved_local import improved_local
from oracles import arrays, assert_same

from yolo_attn.blocks import ImprovedLocalAttention
from yolo_attn.testing.block_inputs import randomised


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("fuse", ["sum", "concat"])
@pytest.mark.parametrize("depthwise", [False, True])
@pytest.mark.parametrize("size", [(1, 1), (3, 5), (6, 4)], ids=str)
def test_improved_local(fuse, depthwise, size, training):
    block = randomised(ImprovedLocalAttention(6, 3, fuse, depthwise).double()).train(training)
    x = torch.randn(2, 6, *size, dtype=torch.float64)
    weights = {k: v.copy() for k, v in arrays(block).items()}  # the running statistics move
    assert_same(block(x), improved_local(x.numpy(), weights, fuse, training))


def test_has_three_convolutions_and_a_gate():
    block = ImprovedLocalAttention(32)
    assert [k.kernel_size for k in block.convolutions] == [(1, 1), (3, 3), (5, 5)]
    assert block.squeeze.out_channels == 2
    assert [k.groups for k in ImprovedLocalAttention(32, depthwise=True).convolutions] == [1, 32, 32]


@pytest.mark.parametrize(("channels", "reduction", "hidden"), [(8, 16, 1), (16, 16, 1), (40, 16, 2), (64, 4, 16)])
def test_the_hidden_layer_has_a_channel_at_least(channels, reduction, hidden):
    assert ImprovedLocalAttention(channels, reduction).squeeze.weight.shape == (hidden, channels, 1, 1)


def test_one_value_in_training_is_normalised_as_in_eval():
    block = randomised(ImprovedLocalAttention(8).double())
    x = torch.randn(1, 8, 1, 1, dtype=torch.float64)
    before = {k: v.clone() for k, v in block.state_dict().items()}
    trained = block.train()(x)
    assert torch.equal(trained, block.eval()(x))
    assert all(torch.equal(v, before[k]) for k, v in block.state_dict().items())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_the_gate_is_float32_and_the_convolutions_are_not(dtype):
    block = ImprovedLocalAttention(16).eval()
    seen = {}
    for name, layer in (("norm", block.norms[0]), ("squeeze", block.squeeze)):
        layer.register_forward_pre_hook(lambda _, args, name=name: seen.update({name: args[0].dtype}))
    with torch.autocast("cpu", dtype=dtype):
        block(torch.randn(1, 16, 4, 4))
    assert seen == {"norm": dtype, "squeeze": torch.float32}


def test_on_one_position_only_the_centres_matter():
    block = randomised(ImprovedLocalAttention(4).double()).eval()
    x = torch.randn(2, 4, 1, 2, dtype=torch.float64)
    before, wide = block(x[..., :1]), block(x)
    for layer in block.convolutions[1:]:
        centre = layer.kernel_size[0] // 2
        kept = layer.weight.data[:, :, centre, centre].clone()
        torch.nn.init.normal_(layer.weight)
        layer.weight.data[:, :, centre, centre] = kept
    torch.testing.assert_close(block(x[..., :1]), before)
    assert (block(x) - wide).abs().max() > 1e-3
