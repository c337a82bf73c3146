"""EMA attention against a slow float64 loop over the paper's formula, and each line of Deviations and Limits."""

import copy

import pytest
import torch
from loop_oracles.ema import ema
from oracles import arrays, assert_same

from yolo_attn.blocks import EMA
from yolo_attn.testing.block_inputs import randomised


@pytest.mark.parametrize(("channels", "factor"), [(12, 4), (6, 6), (8, 1)])  # one channel per group: constant softmaxes
@pytest.mark.parametrize("size", [(1, 1), (1, 4), (5, 3)], ids=str)
def test_ema(channels, factor, size):
    block = randomised(EMA(channels, factor=factor).double())
    x = torch.randn(2, channels, *size, dtype=torch.float64)
    assert_same(block(x), ema(x.numpy(), factor, arrays(block)))


def test_ema_factor_that_does_not_divide_fails_when_built():
    with pytest.raises(ValueError, match=r"^EMA: factor=32 .*channels=16.*\[1, 2, 4, 8, 16\]"):
        EMA(16)


def test_ema_c2_can_only_confirm_the_channels():
    assert EMA(32, 32, 4)(torch.randn(1, 32, 5, 5)).shape == (1, 32, 5, 5)
    with pytest.raises(ValueError, match=r"^EMA: c2=16 .*channels=32"):
        EMA(32, 16, 4)


def test_ema_on_one_position_does_without_conv1x1():
    block = randomised(EMA(8, factor=2).double())
    other = copy.deepcopy(block)
    torch.nn.init.normal_(other.conv1x1.weight)
    x = torch.randn(2, 8, 1, 2, dtype=torch.float64)
    torch.testing.assert_close(block(x[..., :1]), other(x[..., :1]))
    assert (block(x) - other(x)).abs().max() > 1e-3
