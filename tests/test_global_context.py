"""GlobalContext against a slow float64 loop over the paper's formulas, and each line of Deviations and Limits."""

import re

import pytest
import torch
from loop_oracles.global_context import global_context
from oracles import arrays, assert_same

from yolo_attn.blocks import ContextBlock, GlobalContext
from yolo_attn.testing.block_inputs import randomised

BOTH = ["channel_mul", "channel_add"]


@pytest.mark.parametrize("fusion", ["channel_add", "channel_mul", BOTH], ids=str)
@pytest.mark.parametrize("pooling", ["att", "avg"])
@pytest.mark.parametrize("size", [(1, 1), (3, 5), (6, 4)], ids=str)
def test_global_context(fusion, pooling, size):
    block = randomised(GlobalContext(12, 0.25, pooling, fusion).double())
    x = torch.randn(2, 12, *size, dtype=torch.float64)
    names = [fusion] if isinstance(fusion, str) else fusion
    assert_same(block(x), global_context(x.numpy(), arrays(block), pooling, names))


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("pooling", ["att", "avg"])
def test_added_it_starts_as_the_identity(pooling, training):
    block = GlobalContext(32, pooling=pooling).train(training)
    x = torch.randn(2, 32, 5, 7)
    assert torch.equal(block(x), x)
    block(x).square().sum().backward()
    assert all(p.grad.abs().max() > 0 for p in block.channel_add_conv["3"].parameters())  # and can leave it
    for dtype in (torch.float16, torch.bfloat16):
        assert torch.equal(block.to(dtype).eval()(x.to(dtype)), x.to(dtype))


@pytest.mark.parametrize("fusion", ["channel_add", "channel_mul", BOTH], ids=str)
def test_with_gamma_nothing_else_starts_at_zero(fusion):
    block = GlobalContext(32, fusion=fusion, residual=True)
    x = torch.randn(2, 32, 5, 7)
    y = block(x)
    assert torch.equal(y, x)
    y.square().sum().backward()
    assert block.residual.gamma_logit_scale.grad.abs().min() > 0
    torch.nn.init.ones_(block.residual.gamma_logit_scale)
    block.zero_grad()
    block(x).square().sum().backward()
    dead = [n for n, p in block.named_parameters() if p.grad.abs().max() == 0]
    assert dead in ([], ["conv_mask.bias"])


@pytest.mark.parametrize("fusion", ["channel_mul", BOTH], ids=str)
def test_multiplied_it_starts_by_halving(fusion):
    x = torch.randn(2, 32, 5, 7)
    assert torch.equal(GlobalContext(32, fusion=fusion)(x), x / 2)


@pytest.mark.parametrize(("channels", "ratio", "hidden"), [(64, 1 / 16, 4), (80, 0.25, 20), (30, 0.25, 7), (9, 0.1, 1)])
def test_the_bottleneck_is_rounded_down_to_one_at_least(channels, ratio, hidden):
    block = GlobalContext(channels, ratio)
    assert block.channel_add_conv["0"].weight.shape == (hidden, channels, 1, 1)
    assert block.channel_add_conv["1"].weight.shape == (hidden,)


@pytest.mark.parametrize("channels", [16, 31, 32])
def test_one_channel_in_the_bottleneck_sees_nothing(channels):
    block = randomised(GlobalContext(channels).double())
    x = torch.randn(2, channels, 4, 4, dtype=torch.float64)
    d = (block(x) - x).mean((2, 3))
    same = (d[0] - d[1]).abs().max() < 1e-12
    assert same == (channels < 32)
    d = (randomised(GlobalContext(16, 0.25).double())(x[:, :16]) - x[:, :16]).mean((2, 3))
    assert (d[0] - d[1]).abs().max() > 1e-3


def test_the_bias_of_the_mask_has_no_effect():
    block = randomised(GlobalContext(16, 0.25).double())
    x = torch.randn(2, 16, 4, 4, dtype=torch.float64)
    before = block(x)
    block.conv_mask.bias.data += 3
    torch.testing.assert_close(block(x), before, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_the_context_is_float32_under_autocast_and_in_half(dtype):
    block = randomised(GlobalContext(16, 0.25))
    x = (torch.randn(2, 16, 20, 20) + 4).to(dtype).float()
    want = block(x) - x
    seen = []
    handles = [
        layer.register_forward_pre_hook(lambda _, args: seen.append(args[0].dtype))
        for layer in (block.conv_mask, *block.channel_add_conv.values())
    ]
    with torch.autocast("cpu", dtype=dtype):
        assert torch.equal(block(x) - x, want)
    assert seen == [torch.float32] * 4
    for handle in handles:
        handle.remove()
    half = block.to(dtype).eval()
    rounded = GlobalContext(16, 0.25)
    rounded.load_state_dict({k: v.float() for k, v in half.state_dict().items()})
    assert torch.equal(half(x.to(dtype)), x.to(dtype) + (rounded(x) - x)[:, :, :1, :1].to(dtype))


def test_context_block_is_the_same():
    torch.manual_seed(0)
    theirs = ContextBlock(inplanes=32, ratio=0.25, pooling_type="avg", fusion_types=("channel_mul", "channel_add"))
    torch.manual_seed(0)
    ours = GlobalContext(32, 0.25, "avg", BOTH)
    assert theirs.state_dict().keys() == ours.state_dict().keys()
    x = torch.randn(1, 32, 3, 3)
    assert torch.equal(theirs(x), ours(x))
    assert torch.equal(ContextBlock(32, 0.25)(x), x)
    with pytest.raises(ValueError, match=r"^ContextBlock: inplanes=0 "):
        ContextBlock(0, 0.25)
    with pytest.raises(ValueError, match=r"^ContextBlock: fusion_types=\(\) "):
        ContextBlock(32, 0.25, fusion_types=())


@pytest.mark.parametrize("bad", ["add", [], None, ["channel_add", "mul"], ["channel_add", "channel_add"], 3], ids=str)
def test_wants_known_fusions(bad):
    got = re.escape(repr(bad))
    with pytest.raises(ValueError, match=rf"fusion={got} .*'channel_add', 'channel_mul'"):
        GlobalContext(32, fusion=bad)


@pytest.mark.parametrize("bad", [0, 1.01])
def test_wants_a_ratio_up_to_1(bad):
    with pytest.raises(ValueError, match=rf"^GlobalContext: ratio={bad} .* 1; .*0\.0625$"):
        GlobalContext(32, bad)
