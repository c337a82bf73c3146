"""GSoP against a slow float64 loop over the paper's formulas, and each line of Deviations and Limits."""

import pytest
import torch
from oracles import LargestTensor, arrays, assert_same, randomised
from reference.gsop import covariance as loop_covariance
from reference.gsop import gsop

from yolo_attn.blocks import GSoP, GSopBlock
from yolo_attn.blocks.gsop import covariance


@pytest.mark.parametrize(("reduced", "stride"), [(3, 1), (5, 2), (2, 3)])
@pytest.mark.parametrize("size", [(1, 1), (4, 6), (7, 5)], ids=str)
def test_gsop(reduced, stride, size):
    block = randomised(GSoP(6, reduced, stride).double()).eval()
    x = torch.randn(2, 6, *size, dtype=torch.float64)
    assert_same(block(x), gsop(x.numpy(), stride, arrays(block)))


@pytest.mark.parametrize("what", ["channels", "reduced_channels", "reduction_stride"])
@pytest.mark.parametrize("bad", [0, 1.5])
def test_gsop_wants_positive_integers(what, bad):
    with pytest.raises(ValueError, match=rf"^GSoP: {what}={bad} must be a positive integer; {what}=1 is the smallest"):
        GSoP(**{"channels": 64, what: bad})


def test_gsop_block():
    torch.manual_seed(0)
    block = GSopBlock(in_channels=64, mid_channels=32)
    torch.manual_seed(0)
    same = GSoP(64, reduced_channels=32)
    x = torch.randn(1, 64, 32, 32)
    y = block.eval()(x)
    assert y.shape == (1, 64, 32, 32)
    assert torch.equal(y, same.eval()(x))
    with pytest.raises(ValueError, match=r"^GSopBlock: in_channels=0 must be a positive integer"):
        GSopBlock(0)
    with pytest.raises(ValueError, match=r"^GSopBlock: mid_channels=-1 must be a positive integer"):
        GSopBlock(64, -1)


def test_gsop_rectifies_its_input_before_the_reduction():
    block = randomised(GSoP(4, 3).double()).eval()
    x = torch.randn(1, 4, 5, 5, dtype=torch.float64)
    seen = []
    block.reduce.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    block(x)
    assert torch.equal(seen[0], x.clamp(min=0))


def test_gsop_has_no_activation_between_its_last_convolutions():
    block = randomised(GSoP(4, 3).double()).eval()
    seen = []
    block.rows.register_forward_hook(lambda _, args, out: seen.append(out))
    block.expand.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    block(torch.randn(1, 4, 5, 5, dtype=torch.float64))
    assert torch.equal(seen[0], seen[1])
    assert (seen[0] < 0).any()


def test_gsop_makes_nothing_of_n_by_n():
    block = GSoP(64)
    x = torch.randn(1, 64, 80, 80, requires_grad=True)
    with LargestTensor() as largest:
        block(x).mean().backward()
    assert largest.elements == 128 * 80 * 80  # the reduced map
    assert (80 * 80) ** 2 * 4 == 163_840_000  # bytes of the matrix that is not made


def test_covariance_is_centred():
    x = torch.randn(2, 3, 11, dtype=torch.float64) + 5
    for b in range(2):
        assert_same(covariance(x)[b], loop_covariance(x[b].numpy()))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_covariance_is_float32_under_autocast_and_in_half(dtype):
    x = torch.randn(2, 16, 400) * 0.01 + 30  # variance far below the squared mean
    want = covariance(x)
    with torch.autocast("cpu", dtype=dtype):
        got = covariance(x)
        naive = torch.matmul(x, x.transpose(1, 2)) / 400 - x.mean(2, keepdim=True) * x.mean(2).unsqueeze(1)
    assert torch.equal(got, want)
    assert (got.diagonal(dim1=1, dim2=2) > 0).all()
    variances = naive.diagonal(dim1=1, dim2=2)  # negative or overflown: what the float32 island is there for
    assert ((variances < 0) | ~variances.isfinite()).any()
    assert covariance(x.to(dtype)).dtype == torch.float32
    assert covariance(x.double()).dtype == torch.float64


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_gsop_normalises_a_float32_covariance_under_autocast(dtype):
    block = randomised(GSoP(8, 4)).eval()
    seen = []
    block.row_bn.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    with torch.autocast("cpu", dtype=dtype):
        block(torch.randn(1, 8, 6, 6))
    assert seen[0].dtype == torch.float32
    assert (seen[0].squeeze(3).diagonal(dim1=1, dim2=2) >= 0).all()


def test_gsop_is_a_module_of_its_own():
    assert not [m for m in GSoP(8, 4).modules() if "Bottleneck" in type(m).__name__]
    assert [n for n, _ in GSoP(8, 4).named_children()] == ["reduce", "reduce_bn", "row_bn", "rows", "expand"]


def test_gsop_on_one_position_needs_two_samples_to_train():
    block = GSoP(8, 4).train()
    with pytest.raises(ValueError, match="Expected more than 1 value per channel"):
        block(torch.randn(1, 8, 1, 1))
    assert block(torch.randn(2, 8, 1, 1)).shape == (2, 8, 1, 1)
    assert block(torch.randn(1, 8, 1, 2)).shape == (1, 8, 1, 2)


def test_gsop_on_one_position_has_a_constant_gate_in_eval():
    block = randomised(GSoP(8, 4).double()).eval()
    x = torch.rand(3, 8, 1, 1, dtype=torch.float64) + 1
    gate = block(x) / x
    torch.testing.assert_close(gate, gate[:1].expand_as(gate))


def test_gsop_has_the_channel_form_only():
    with pytest.raises(TypeError, match="mode"):
        GSoP(8, mode="position")


def test_gsop_rows_vary_by_about_the_eps_that_ultralytics_sets():
    from ultralytics.utils.torch_utils import initialize_weights

    block = GSoP(64)
    assert block.row_bn.eps == 1e-5
    seen = []
    block.row_bn.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    block(torch.randn(4, 64, 20, 20))
    variance = seen[0].var((0, 2, 3), correction=0).median().item()
    assert 2e-4 < variance < 5e-3, variance
    initialize_weights(block)
    assert block.row_bn.eps == 1e-3
