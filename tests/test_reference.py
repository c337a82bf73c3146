"""Our blocks against slow float64 loops over the papers' formulas, and each line of their Deviations and Limits."""

import copy

import numpy as np
import pytest
import torch
from reference.ema import ema
from reference.gsop import covariance as loop_covariance
from reference.gsop import gsop
from reference.pmfs import pmfs
from torch.utils._python_dispatch import TorchDispatchMode

from yolo_attn.blocks import EMA, PMFS, GlobalPMFSBlock_AP_Separate, GSoP, GSopBlock
from yolo_attn.blocks.gsop import covariance
from yolo_attn.blocks.pmfs import resize


def randomised(module):
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        if tensor.dtype.is_floating_point:
            with torch.no_grad():
                noise = torch.randn_like(tensor) * 0.3
                tensor.copy_(noise.abs() + 0.5 if name.endswith("running_var") else tensor + noise)
    return module


def arrays(module):
    return {k: v.detach().numpy() for k, v in module.state_dict().items()}


def assert_same(got, want):
    np.testing.assert_allclose(got.detach().numpy(), want, rtol=1e-9, atol=1e-12)


# EMA attention


@pytest.mark.parametrize(("channels", "factor"), [(12, 4), (6, 6), (8, 1)])
@pytest.mark.parametrize("size", [(1, 1), (1, 4), (5, 3)], ids=str)
def test_ema(channels, factor, size):
    block = randomised(EMA(channels, factor=factor).double())
    x = torch.randn(2, channels, *size, dtype=torch.float64)
    assert_same(block(x), ema(x.numpy(), factor, arrays(block)))


def test_ema_ignores_c2():
    torch.manual_seed(0)
    a = EMA(32, 999, 4)
    torch.manual_seed(0)
    b = EMA(32, factor=4)
    x = torch.randn(1, 32, 5, 5)
    assert torch.equal(a(x), b(x))


def test_ema_factor_that_does_not_divide_fails_when_built():
    with pytest.raises(
        ValueError, match=r"^EMA: factor=32 must divide channels=48; divisors of 48: \[1, 2, 3, 4, 6, 8"
    ):
        EMA(48)
    with pytest.raises(ValueError, match=r"factor=32 must divide channels=16; divisors of 16: \[1, 2, 4, 8, 16\]"):
        EMA(16)


@pytest.mark.parametrize("bad", [0, -8, 2.0, True, "64", None])
def test_ema_wants_positive_integers(bad):
    with pytest.raises(ValueError, match=r"^EMA: channels=.* must be a positive integer; "):
        EMA(bad)
    with pytest.raises(ValueError, match=r"^EMA: factor=.* must be a positive integer; "):
        EMA(64, factor=bad)


def test_ema_mean_of_the_norm_is_its_bias():
    block = randomised(EMA(24, factor=4).double())
    y1 = block.gn(torch.randn(3, 6, 7, 5, dtype=torch.float64))
    torch.testing.assert_close(y1.mean((2, 3)), block.gn.bias.expand(3, 6), rtol=0, atol=1e-14)


def test_ema_with_one_channel_to_a_group_has_constant_softmaxes():
    block = randomised(EMA(8, factor=8).double())
    x = torch.randn(2, 8, 4, 4, dtype=torch.float64)
    g = x.reshape(16, 1, 4, 4)
    gates = block.conv1x1(torch.cat([g.mean(3), g.mean(2)], 2).unsqueeze(3)).sigmoid()
    y1 = block.gn(g * gates[:, :, :4] * gates[:, :, 4:].transpose(2, 3))
    want = x * (block.conv3x3(g) + y1).sigmoid().reshape(2, 8, 4, 4)
    torch.testing.assert_close(block(x), want)


def test_ema_on_one_position_does_without_conv1x1():
    block = randomised(EMA(8, factor=2).double())
    other = copy.deepcopy(block)
    torch.nn.init.normal_(other.conv1x1.weight)
    x = torch.randn(2, 8, 1, 2, dtype=torch.float64)
    torch.testing.assert_close(block(x[..., :1]), other(x[..., :1]))
    assert (block(x) - other(x)).abs().max() > 1e-3


# GSoP


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


class LargestTensor(TorchDispatchMode):
    """Notes the most elements of any tensor that an operation returns, in forward and backward."""

    def __init__(self):
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in torch.utils._pytree.tree_leaves(out):
            if isinstance(tensor, torch.Tensor):
                self.elements = max(self.elements, tensor.numel())
        return out


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


# PMFS

SIZES = {
    "multiples": [(8, 4), (4, 2), (4, 2)],
    "upsampled": [(2, 3), (6, 6)],
    "odd": [(7, 9), (2, 5), (4, 3)],
    "mixed axes": [(6, 2), (3, 4)],
    "one": [(3, 5)],
    "one position": [(3, 2), (1, 1)],
}


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES.keys())
@pytest.mark.parametrize("options", [{}, {"ch_k": 2, "ch_v": 5, "br": 4}], ids=["equal", "unequal"])
def test_pmfs(sizes, options):
    channels = [4, 3, 5][: len(sizes)]
    block = randomised(PMFS(channels, ch=3, **options).double()).eval()
    maps = [torch.randn(2, c, *s, dtype=torch.float64) for c, s in zip(channels, sizes, strict=True)]
    y = block(maps)
    assert y.shape == maps[-1].shape
    assert_same(y, pmfs([m.numpy() for m in maps], options.get("br", len(sizes)), arrays(block)))


def test_pmfs_short_form():
    block = GlobalPMFSBlock_AP_Separate(in_channels=[64, 32], out_ch_base=32, ch_aggr=16, br=4)
    maps = [torch.randn(1, 64, 8, 8), torch.randn(1, 32, 16, 16)]
    assert block(maps).shape == (1, 32, 16, 16)
    torch.manual_seed(0)
    short = GlobalPMFSBlock_AP_Separate([6, 4], ch_aggr=3, br=2).eval()
    torch.manual_seed(0)
    house = PMFS([6, 4], ch=3).eval()
    torch.manual_seed(0)
    theirs = GlobalPMFSBlock_AP_Separate([6, 4], [2, 1], 3, 3, 3, 2, "2d").eval()
    maps = [torch.randn(1, 6, 8, 6), torch.randn(1, 4, 4, 3)]
    assert torch.equal(short(maps), house(maps))
    assert torch.equal(short(maps), theirs(maps))


def test_pmfs_authors_form_is_3d_by_default():
    block = GlobalPMFSBlock_AP_Separate([4, 6], [2, 1], 3, 3, 3, 2).eval()
    assert block([torch.randn(1, 4, 4, 6, 8), torch.randn(1, 6, 2, 3, 4)]).shape == (1, 6, 2, 3, 4)
    no_kernels = GlobalPMFSBlock_AP_Separate([4, 6], ch=3, dim="3d").eval()
    assert no_kernels([torch.randn(1, 4, 5, 2, 8), torch.randn(1, 6, 2, 3, 4)]).shape == (1, 6, 2, 3, 4)


def test_pmfs_kernels_are_applied_as_given_and_what_still_differs_is_brought_to_size():
    seen = []
    block = PMFS([4, 6], ch=3, max_pool_kernels=[2, 1]).eval()
    for branch in block.branches:
        branch.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    odd = torch.randn(1, 4, 9, 9)
    block([odd, torch.randn(1, 6, 4, 4)])
    assert torch.equal(seen[0], torch.nn.functional.max_pool2d(odd, 2))  # the last row and column fall off, as theirs
    assert block([torch.randn(1, 4, 16, 16), torch.randn(1, 6, 4, 4)]).shape == (1, 6, 4, 4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": 64}, r"^PMFS: channels=64 must be a list of positive integers; one for each input map"),
        ({"channels": []}, r"^PMFS: channels=\[\] must be a list of positive integers"),
        ({"channels": [64, 0]}, r"^PMFS: channels=\[64, 0\] must be a list of positive integers"),
        ({"ch": 0}, r"^PMFS: ch=0 must be a positive integer"),
        ({"ch_k": -1}, r"^PMFS: ch_k=-1 must be a positive integer"),
        ({"ch_v": 0.5}, r"^PMFS: ch_v=0\.5 must be a positive integer"),
        ({"br": 0}, r"^PMFS: br=0 must be a positive integer"),
        ({"dim": "4d"}, r"^PMFS: dim='4d' must be '2d' or '3d'; maps of a YOLO are '2d'"),
        ({"max_pool_kernels": 2}, r"^PMFS: max_pool_kernels=2 must be a list of positive integers"),
        ({"max_pool_kernels": [2]}, r"^PMFS: max_pool_kernels=\[2\] must have one kernel for each of the 2 inputs; "),
    ],
)
def test_pmfs_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        PMFS(**{"channels": [4, 6], **options})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"in_channels": 32}, r"in_channels=32 must be a list of positive integers"),
        ({"in_channels": [64, 32]}, r"ch=None, ch_aggr=None must be one number; give ch"),
        ({"in_channels": [64, 32], "ch": 8, "ch_aggr": 8}, r"ch=8, ch_aggr=8 must be one number; give ch"),
        (
            {"in_channels": [64, 32], "ch_aggr": 8, "out_ch_base": 64},
            r"out_ch_base=64 must be the last input's channels; out_ch_base=32 or leave it out",
        ),
        ({"in_channels": [64, 32], "ch_aggr": 0}, r"ch=0 must be a positive integer"),
    ],
)
def test_pmfs_short_form_refuses(options, message):
    with pytest.raises(ValueError, match=f"^GlobalPMFSBlock_AP_Separate: {message}"):
        GlobalPMFSBlock_AP_Separate(**options)


def test_pmfs_wants_as_many_maps_as_it_was_built_for():
    block = PMFS([4, 6], ch=3).eval()
    x = torch.randn(2, 6, 4, 4)
    with pytest.raises(ValueError, match=r"^PMFS: input=one tensor must be a list of 2; in a model YAML, give 'from'"):
        block(x)
    with pytest.raises(ValueError, match=r"^PMFS: input=1 maps must be a list of 2; "):
        block([x])


def test_resize_pools_with_kernel_equal_to_stride_at_whole_multiples():
    x = torch.randn(1, 2, 12, 8)
    assert torch.equal(resize(x, (4, 4)), torch.nn.functional.max_pool2d(x, (3, 2)))
    assert torch.equal(resize(x, (4, 4)), torch.nn.functional.adaptive_max_pool2d(x, (4, 4)))
    assert torch.equal(resize(x, (5, 7)), torch.nn.functional.adaptive_max_pool2d(x, (5, 7)))
    assert torch.equal(resize(x, (24, 16)), x.repeat_interleave(2, 2).repeat_interleave(2, 3))
    assert resize(x, (12, 8)) is x


def test_pmfs_groups_do_not_depend_on_the_number_of_inputs():
    block = PMFS([4, 6], ch=3, br=5, ch_k=2, ch_v=7)
    assert block.channel_q.pointwise.out_channels == 6
    assert block.spatial_q.pointwise.out_channels == block.spatial_k.pointwise.out_channels == 10
    assert block.spatial_v.pointwise.out_channels == 35


def test_pmfs_on_one_position_needs_two_samples_to_train():
    block = PMFS([4, 6], ch=3).train()
    with pytest.raises(ValueError, match="Expected more than 1 value per channel"):
        block([torch.randn(1, 4, 2, 2), torch.randn(1, 6, 1, 1)])
    assert block([torch.randn(2, 4, 2, 2), torch.randn(2, 6, 1, 1)]).shape == (2, 6, 1, 1)
    assert block([torch.randn(1, 4, 1, 1), torch.randn(1, 6, 1, 2)]).shape == (1, 6, 1, 2)


def test_pmfs_channel_attention_learns_from_two_samples_and_more():
    block = randomised(PMFS([4, 6], ch=3).double()).train()
    for name in ("spatial_q", "spatial_k", "spatial_v"):
        getattr(block, name).norm.eps = 1e-30  # for this is what keeps the scaling from vanishing
    gradient = {}
    for batch in (1, 2):
        block.zero_grad()
        maps = [torch.randn(batch, 4, 8, 8, dtype=torch.float64), torch.randn(batch, 6, 4, 4, dtype=torch.float64)]
        block(maps).square().mean().backward()
        gradient[batch] = block.channel_score.weight.grad.abs().max().item()
    assert gradient[1] < 1e-12 < 1e-6 < gradient[2]


@pytest.mark.export
@pytest.mark.filterwarnings("ignore")
def test_pmfs_of_no_whole_multiple_is_beyond_the_onnx_exporter_without_dynamo(tmp_path, capsys):
    block = PMFS([4, 6], ch=3).eval()
    maps = [torch.randn(1, 4, 9, 9), torch.randn(1, 6, 4, 4)]
    with pytest.raises(torch.onnx.errors.SymbolicValueError, match="not factor of input size"):
        torch.onnx.export(block, (maps,), tmp_path / "pmfs.onnx", dynamo=False)
    capsys.readouterr()  # the exporter prints its graph
