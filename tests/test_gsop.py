"""GSoP against a slow float64 loop over the paper's formulas, and each line of Deviations and Limits."""

import copy

import pytest
import torch
import torch.nn.functional as F
from loop_oracles import gsop as loops
from loop_oracles.common import covered
from oracles import LargestTensor, arrays, assert_same

from yolo_attn.blocks import GSoP, GSopBlock
from yolo_attn.blocks.functional import resize_by_mean
from yolo_attn.blocks.gsop import authors_position_covariance, covariance, join_shape
from yolo_attn.testing.block_inputs import randomised

STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
MODES = ("position", "sum", "max", "concat")


@pytest.mark.parametrize(("reduced", "stride"), [(3, 1), (5, 2), (2, 3)])
@pytest.mark.parametrize("size", [(1, 1), (4, 6), (7, 5)], ids=str)
def test_gsop(reduced, stride, size):
    block = randomised(GSoP(6, reduced, stride).double()).eval()
    x = torch.randn(2, 6, *size, dtype=torch.float64)
    assert_same(block(x), loops.gsop(x.numpy(), arrays(block), stride=stride))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("size", "grid"), [((1, 1), 3), ((7, 2), 3), ((5, 9), 4), ((8, 4), 2)], ids=str)
def test_gsop_of_positions(mode, size, grid):
    stride = 1 if mode == "position" else 2
    block = randomised(GSoP(6, 5, stride, mode, grid).double()).eval()
    x = torch.randn(2, 6, *size, dtype=torch.float64)
    want = loops.gsop(x.numpy(), arrays(block), mode, stride, position={"grid": grid})
    assert_same(block(x), want)


@pytest.mark.parametrize("activation", ["none", "relu", "leaky_relu"])
def test_gsop_row_activation(activation):
    block = randomised(GSoP(6, 5, mode="sum", grid=3, row_activation=activation).double()).eval()
    x = torch.randn(2, 6, 4, 5, dtype=torch.float64)
    named = {"activation": activation}
    assert_same(block(x), loops.gsop(x.numpy(), arrays(block), "sum", channel=named, position={"grid": 3, **named}))


@pytest.mark.parametrize("size", [(2, 7), (5, 6)], ids=str)
@pytest.mark.parametrize("reduced", [4, 9, 20])
def test_gsop_of_positions_as_the_authors_have_it(size, reduced):
    block = GSoP(6, reduced, mode="position", grid=3, position_covariance="authors", unpool="authors").double()
    block = randomised(block).eval()
    x = torch.randn(2, 6, *size, dtype=torch.float64)
    theirs = {"grid": 3, "exact": False, "unpool": covered}
    assert_same(block(x), loops.gsop(x.numpy(), arrays(block), "position", position=theirs))


@pytest.mark.parametrize("channels", [96, 160, 224])  # the authors' groups: 1, 2, and 3, which does not divide
def test_gsop_joins_in_groups(channels):
    block = randomised(GSoP(channels, 3, mode="concat", grid=2).double()).eval()
    x = torch.randn(1, channels, 3, 2, dtype=torch.float64)
    assert_same(block(x), loops.gsop(x.numpy(), arrays(block), "concat", position={"grid": 2}))
    for join in (block.join_channel, block.join_position):  # along the height only
        assert (join.groups, *join.kernel_size) == (*join_shape(channels), 1)


def test_gsop_joins_with_the_authors_groups_and_kernels_where_they_have_them():
    theirs = {64: (1, 15), 128: (2, 13), 192: (3, 11), 256: (4, 11), 320: (5, 9), 512: (8, 9), 576: (9, 7)}
    theirs |= {640: (10, 7), 1024: (16, 7), 2048: (32, 5), 96: (1, 15), 160: (2, 13), 1536: (24, 5)}
    assert {c: join_shape(c) for c in theirs} == theirs
    assert {c: join_shape(c) for c in (16, 63, 224, 4096)} == {16: (1, 15), 63: (1, 15), 224: (2, 13), 4096: (64, 5)}
    assert all(channels % join_shape(channels)[0] == 0 for channels in range(16, 1600, 16))


def test_gsop_block():
    options = {"mode": "max", "grid": 4, "residual": True}
    torch.manual_seed(0)
    block = GSopBlock(in_channels=16, mid_channels=8, **options)
    torch.manual_seed(0)
    torch.testing.assert_close(dict(block.state_dict()), dict(GSoP(16, 8, **options).state_dict()), rtol=0, atol=0)
    for wrong, message in (({"in_channels": 0}, "in_channels=0"), ({"mid_channels": -1}, "mid_channels=-1")):
        with pytest.raises(ValueError, match=f"^GSopBlock: {message} "):
            GSopBlock(**{"in_channels": 64, **wrong})
    with pytest.raises(ValueError, match=r"^GSopBlock: mode='mean' "):
        GSopBlock(16, mode="mean")
    with pytest.raises(TypeError, match="stride"):
        GSopBlock(16, stride=2)


def test_gsop_sum_and_concat_pass_negative_values_by_the_channel_gate():
    for mode in ("sum", "concat"):
        block = randomised(GSoP(8, 4, mode=mode, grid=2).double()).eval()
        x = -torch.rand(1, 8, 4, 4, dtype=torch.float64, requires_grad=True)
        x.retain_grad()
        block(x).sum().backward()
        assert (x.grad != 0).all()
        assert block.position_expand.weight.grad.abs().max() == 0
        assert block.expand.bias.grad.abs().max() > 0


@pytest.mark.parametrize("mode", ["channel", *MODES])
def test_gsop_makes_nothing_of_n_by_n(mode):
    block = GSoP(64, mode=mode)
    x = torch.randn(1, 64, 80, 80, requires_grad=True)
    with LargestTensor() as largest:
        block(x).mean().backward()
    assert largest.elements == 128 * 80 * 80  # the reduced map


def test_authors_covariance_of_positions_is_one_only_for_as_many_channels_as_cells():
    equal, fewer = torch.randn(2, 6, 6, dtype=torch.float64) + 1, torch.randn(2, 6, 4, dtype=torch.float64) + 1
    torch.testing.assert_close(authors_position_covariance(equal), covariance(equal))
    scale = authors_position_covariance(fewer) / covariance(fewer)
    assert scale.amax() - scale.amin() > 0.1  # not even a multiple of it: its mean is another
    for b in range(2):
        assert_same(authors_position_covariance(fewer)[b], loops.authors_covariance(fewer[b].numpy()))


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
    for f in (covariance, authors_position_covariance):
        assert f(x.to(dtype)).dtype == torch.float32
        assert f(x.double()).dtype == torch.float64


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_gsop_makes_its_gates_in_float32_under_autocast(dtype):
    block = randomised(GSoP(8, 4, mode="sum", grid=3)).eval()
    seen = []
    layers = ("row_bn", "rows", "expand", "position_row_bn", "position_rows", "position_expand")
    for name in layers:
        getattr(block, name).register_forward_hook(lambda _, args, out: seen.extend([args[0].dtype, out.dtype]))
    block.row_bn.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    with torch.autocast("cpu", dtype=dtype):
        block(torch.randn(1, 8, 6, 6))
    assert (seen.pop(0).squeeze(3).diagonal(dim1=1, dim2=2) >= 0).all()
    assert seen == [torch.float32] * 2 * len(layers)


@pytest.mark.parametrize("mode", ["channel", "sum"])
def test_gsop_makes_its_gates_in_float32_in_a_half_model(mode):
    block = GSoP(8, 4, mode=mode, **({"grid": 3} if mode == "sum" else {})).eval()
    x = 1e4 * torch.randn(1, 8, 6, 6)  # squares of these are no float16
    got, want = copy.deepcopy(block).half()(x.half()), block(x)
    assert got.dtype == torch.float16
    assert got.isfinite().all()
    assert (got.float() - want).abs().mean() < 0.01 * want.abs().mean()


@pytest.mark.parametrize("mode", ["channel", *MODES])
def test_gsop_on_one_position_trains_one_sample_by_the_running_statistics(mode):
    block = randomised(GSoP(8, 4, mode=mode, **({} if mode == "channel" else {"grid": 1})).double()).train()
    x = torch.rand(1, 8, 1, 1, dtype=torch.float64)
    before = copy.deepcopy(block.state_dict())
    block(x).sum().backward()
    seen = {n for n, v in block.state_dict().items() if not torch.equal(v, before[n])}
    assert seen == ({f"row_bn.{n}" for n in STATISTICS} if mode != "position" else set())  # 4 values a row, not one
    in_eval = copy.deepcopy(block).eval()
    block.row_bn = in_eval.row_bn if mode != "position" else None
    torch.testing.assert_close(block(x), in_eval(x))


def test_gsop_on_one_position_has_a_constant_channel_gate_in_eval():
    block = randomised(GSoP(8, 4).double()).eval()
    x = torch.rand(3, 8, 1, 1, dtype=torch.float64) + 1
    gate = block(x) / x
    torch.testing.assert_close(gate, gate[:1].expand_as(gate))


def test_gsop_on_one_position_sees_one_value_in_the_covariance_of_the_cells():
    block = randomised(GSoP(8, 4, mode="position", grid=3).double()).eval()
    seen = []
    block.position_row_bn.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    x = torch.rand(3, 8, 1, 1, dtype=torch.float64) + 1
    gate = block(x) / x
    torch.testing.assert_close(seen[0], seen[0][:, :1, :1].expand_as(seen[0]))
    assert seen[0].min() > 0
    assert (gate[0] - gate[1]).abs().max() > 1e-3


@pytest.mark.parametrize("size", [(8, 16), (24, 8), (4, 2), (1, 40), (20, 20), (13, 8), (9, 31)], ids=str)
def test_resample_is_nearest_interpolation_and_the_authors_unpooling_at_whole_multiples(size):
    gate = torch.randn(2, 1, 8, 8, dtype=torch.float64)
    got = resize_by_mean(gate, *size, overlap=False)
    whole = all(max(n, 8) % min(n, 8) == 0 for n in size)  # elsewhere theirs mixes neighbours
    assert torch.allclose(got, F.adaptive_avg_pool2d(gate, size), rtol=1e-14, atol=1e-15) == whole
    if min(size) >= 8:
        assert torch.equal(got, F.interpolate(gate, size=size, mode="nearest"))


@pytest.mark.parametrize("size", [(3, 5), (20, 7), (8, 8), (1, 1), (100, 61)], ids=str)
def test_resample_is_adaptive_pooling_both_ways(size):
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    torch.testing.assert_close(resize_by_mean(x, 8, 8, overlap=True), F.adaptive_avg_pool2d(x, 8))
    gate = torch.randn(2, 1, 8, 8, dtype=torch.float64)
    torch.testing.assert_close(resize_by_mean(gate, *size, overlap=True), F.adaptive_avg_pool2d(gate, size))


def test_gsop_of_a_grid_of_twice_the_side_takes_16_times_as_much():
    block = GSoP(8, 4, mode="position", grid=4).eval()
    assert block.position_rows.weight.numel() == 4 * 4**4
    seen = []
    block.position_row_bn.register_forward_pre_hook(lambda _, args: seen.append(args[0].shape))
    block(torch.randn(1, 8, 5, 5))
    block(torch.randn(1, 8, 50, 50))
    assert seen == [(1, 16, 16, 1)] * 2


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


@pytest.mark.export
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("unpool", ["nearest", "authors"])
def test_gsop_of_positions_reaches_onnx_at_sizes_that_no_grid_divides(unpool, tmp_path, capsys):
    block = randomised(GSoP(8, 4, mode="position", unpool=unpool)).eval()
    x = torch.randn(1, 8, 20, 7)
    assert exported(block, x, tmp_path) == ""
    assert "not factor of input size" in exported(torch.nn.AdaptiveAvgPool2d(8), x, tmp_path)
    capsys.readouterr()  # the exporter prints its graph


def exported(module, x, folder):
    """Export to ONNX; return why it did not work. The package onnx is needed after the conversion only."""
    try:
        torch.onnx.export(module, (x,), folder / "module.onnx", dynamo=False)
    except torch.onnx.errors.OnnxExporterError as error:
        if "onnx is not installed" not in str(error):
            return str(error)
    return ""
