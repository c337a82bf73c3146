"""PMFS against a slow float64 loop over the paper's formulas, and each line of Deviations and Limits."""

import copy
from functools import partial

import pytest
import torch
from loop_oracles.pmfs import pmfs, pmfs_channel, pmfs_spatial
from oracles import arrays, assert_same

from yolo_attn.blocks import PMFS, GlobalPMFSBlock_AP, GlobalPMFSBlock_AP_Separate, PMFSChannel, PMFSSpatial
from yolo_attn.blocks.functional import in_float32, resize_by_max
from yolo_attn.testing.block_inputs import randomised

FORMS = ("separable", "conv")
STATISTICS = ("softmax", "mean_var")
SIZES = {
    "multiples": [(8, 4), (4, 2), (4, 2)],
    "upsampled": [(2, 3), (6, 6)],
    "odd": [(7, 9), (2, 5), (4, 3)],
    "last in the middle": [(2, 1), (8, 6), (4, 3)],
    "mixed axes": [(6, 2), (3, 4)],
    "one": [(3, 5)],
    "one position": [(3, 2), (1, 1)],
}
several = partial(PMFS, [4, 6], 3, 2, 5)
every_class = pytest.mark.parametrize(
    "make", [several, partial(PMFSChannel, 6), partial(PMFSSpatial, 6, 2)], ids=["PMFS", "PMFSChannel", "PMFSSpatial"]
)


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES.keys())
@pytest.mark.parametrize("options", [{}, {"ch_k": 2, "ch_v": 5, "br": 4}], ids=["equal", "unequal"])
def test_pmfs(sizes, options):
    channels = [4, 3, 5][: len(sizes)]
    block = randomised(PMFS(channels, ch=3, **options).double()).eval()
    maps = [torch.randn(2, c, *s, dtype=torch.float64) for c, s in zip(channels, sizes, strict=True)]
    y = block(maps)
    assert y.shape == maps[-1].shape
    assert_same(y, pmfs([m.numpy() for m in maps], options.get("br", len(sizes)), arrays(block)))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("fusion", ["concat", "weighted"])
@pytest.mark.parametrize("statistics", STATISTICS)
@pytest.mark.parametrize("sizes", [SIZES["odd"], SIZES["one"], SIZES["one position"]], ids=str)
def test_pmfs_options(form, fusion, statistics, sizes):
    channels = [4, 3, 5][: len(sizes)]
    options = {"form": form, "fusion": fusion, "statistics": statistics}
    if fusion == "weighted" and len(sizes) == 1:
        with pytest.raises(ValueError, match=r"^PMFS: fusion='weighted' "):
            PMFS(channels, 3, **options)
        return
    block = randomised(PMFS(channels, 3, 2, 4, 2, **options).double()).eval()
    maps = [torch.randn(2, c, *s, dtype=torch.float64) for c, s in zip(channels, sizes, strict=True)]
    assert_same(block(maps), pmfs([m.numpy() for m in maps], 2, arrays(block), **options))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("statistics", STATISTICS)
@pytest.mark.parametrize("size", [(1, 1), (5, 3), (2, 6)], ids=str)
def test_pmfs_channel(form, statistics, size):
    block = randomised(PMFSChannel(5, form, statistics).double()).eval()
    x = torch.randn(2, 5, *size, dtype=torch.float64)
    assert_same(block(x), pmfs_channel(x.numpy(), arrays(block), form, statistics))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("options", [{}, {"br": 3}, {"br": 2, "ch_k": 5, "ch_v": 3}, {"br": 9}], ids=str)
@pytest.mark.parametrize("size", [(1, 1), (5, 3), (2, 6)], ids=str)
def test_pmfs_spatial(form, options, size):
    block = randomised(PMFSSpatial(5, form=form, **options).double()).eval()
    x = torch.randn(2, 5, *size, dtype=torch.float64)
    assert_same(block(x), pmfs_spatial(x.numpy(), options.get("br", 1), arrays(block), form))


@pytest.mark.parametrize("form", FORMS)
def test_pmfs_is_its_branches_the_two_layers_and_its_last_convolution(form):
    """With PMFS's own parameters, as they are: what the layers hold is what the block holds."""
    block = randomised(PMFS([4, 6], 3, br=2, form=form).double()).eval()
    weights = block.state_dict()
    first, second = PMFSChannel(6, form).double().eval(), PMFSSpatial(6, 2, form=form).double().eval()
    for layer in (first, second):
        layer.load_state_dict({k: weights[k] for k in layer.state_dict()}, strict=True)
    maps = [torch.randn(2, 4, 4, 6, dtype=torch.float64), torch.randn(2, 6, 4, 6, dtype=torch.float64)]
    joined = torch.cat([f(m) for f, m in zip(block.branches, maps, strict=True)], 1)
    assert torch.equal(block.out(second(first(joined))), block(maps))
    left = {k.split(".")[0] for k in weights} - {
        k.split(".")[0] for layer in (first, second) for k in layer.state_dict()
    }
    assert left == {"branches", "out"}


@every_class
@pytest.mark.parametrize("form", FORMS)
def test_pmfs_of_depth_one_is_flat(form, make):
    """A volume of depth 1 sees the middle of the kernels."""
    deep, flat = randomised(make(form=form, dim="3d").double()).eval(), make(form=form).double().eval()
    flat.load_state_dict({k: v[:, :, v.shape[2] // 2] if v.ndim == 5 else v for k, v in deep.state_dict().items()})
    maps = [torch.randn(2, c, *s, dtype=torch.float64) for c, s in ((4, (8, 6)), (6, (4, 3)))]
    volumes = [m.unsqueeze(2) for m in maps]
    x, volume = (maps, volumes) if make is several else (maps[1], volumes[1])
    torch.testing.assert_close(deep(volume).squeeze(2), flat(x))


@pytest.mark.parametrize("form", FORMS)
def test_pmfs_in_3d_treats_depth_as_it_treats_width(form):
    block = randomised(PMFS([4, 6], 3, 2, 5, dim="3d", form=form).double()).eval()
    turned = PMFS([4, 6], 3, 2, 5, dim="3d", form=form).double().eval()
    turned.load_state_dict({k: v.transpose(2, 4) if v.ndim == 5 else v for k, v in block.state_dict().items()})
    maps = [torch.randn(1, 4, 6, 4, 5, dtype=torch.float64), torch.randn(1, 6, 2, 4, 3, dtype=torch.float64)]
    y = block(maps)
    assert y.shape == (1, 6, 2, 4, 3)
    torch.testing.assert_close(turned([m.transpose(2, 4) for m in maps]).transpose(2, 4), y)


AUTHORS_BLOCKS = {"separable": GlobalPMFSBlock_AP_Separate, "conv": GlobalPMFSBlock_AP}


@pytest.mark.parametrize("form", FORMS)
def test_pmfs_authors_and_short_form(form):
    authors_block = AUTHORS_BLOCKS[form]
    outputs = []
    for make in (
        lambda: PMFS([6, 4], ch=3, form=form),
        lambda: authors_block([6, 4], [2, 1], 3, 3, 3, 2, "2d"),
        lambda: authors_block(in_channels=[6, 4], out_ch_base=4, ch_aggr=3, br=2),
    ):
        torch.manual_seed(0)
        outputs.append(make().eval()([torch.randn(1, 6, 8, 6), torch.randn(1, 4, 4, 3)]))
    assert torch.equal(outputs[0], outputs[1])
    assert torch.equal(outputs[0], outputs[2])
    by_default = authors_block([4, 6], [2, 1], 3, 2, 5, 2).eval()  # ch_k and ch_v differ
    for block, depth in ((by_default, 4), (authors_block([4, 6], ch=3, dim="3d").eval(), 5)):
        assert block([torch.randn(1, 4, depth, 6, 8), torch.randn(1, 6, 2, 3, 4)]).shape == (1, 6, 2, 3, 4)


def test_pmfs_applies_kernels_as_given_and_then_resizes():
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
        ({"in_channels": 32}, "in_channels=32 "),
        ({"in_channels": [64, 32]}, "ch=None, ch_aggr=None "),
        ({"in_channels": [64, 32], "ch": 8, "ch_aggr": 8}, "ch=8, ch_aggr=8 "),
        ({"in_channels": [64, 32], "ch_aggr": 8, "out_ch_base": 64}, "out_ch_base=64 .*out_ch_base=32"),
        ({"in_channels": [64, 32], "ch_aggr": 0}, "ch=0 "),
    ],
)
def test_pmfs_short_form_refuses(options, message):
    with pytest.raises(ValueError, match=f"^GlobalPMFSBlock_AP_Separate: {message}"):
        GlobalPMFSBlock_AP_Separate(**options)


@every_class
def test_pmfs_wants_two_or_three_dimensions(make):
    with pytest.raises(ValueError, match=r"^\w+: dim='4d' .*'2d', '3d'"):
        make(dim="4d")


def test_pmfs_wants_a_kernel_and_a_map_for_each_input():
    with pytest.raises(ValueError, match=r"^PMFS: max_pool_kernels=\[2\] .* 2 "):
        PMFS([4, 6], max_pool_kernels=[2])
    block = PMFS([4, 6], ch=3).eval()
    x = torch.randn(2, 6, 4, 4)
    with pytest.raises(ValueError, match=r"^PMFS: input=one tensor .* 2"):
        block(x)
    with pytest.raises(ValueError, match=r"^PMFS: input=1 maps .* 2"):
        block([x])


def test_resize_pools_with_kernel_equal_to_stride_at_whole_multiples():
    x = torch.randn(1, 2, 12, 8)
    assert torch.equal(resize_by_max(x, (4, 4)), torch.nn.functional.max_pool2d(x, (3, 2)))
    assert torch.equal(resize_by_max(x, (4, 4)), torch.nn.functional.adaptive_max_pool2d(x, (4, 4)))
    assert torch.equal(resize_by_max(x, (5, 7)), torch.nn.functional.adaptive_max_pool2d(x, (5, 7)))
    assert torch.equal(resize_by_max(x, (24, 16)), x.repeat_interleave(2, 2).repeat_interleave(2, 3))
    assert resize_by_max(x, (12, 8)) is x


@every_class
@pytest.mark.parametrize("form", FORMS)
def test_pmfs_on_one_position_trains_one_sample_by_the_running_statistics(form, make):
    block = randomised(make(form=form).double()).train()
    before = copy.deepcopy(block.state_dict())
    x = torch.randn(1, 6, 1, 1, dtype=torch.float64)
    given = [torch.randn(1, 4, 1, 1, dtype=torch.float64), x] if make is several else x
    y = block(given)
    y.sum().backward()
    assert all(torch.equal(v, before[k]) for k, v in block.state_dict().items())
    torch.testing.assert_close(y, block.eval()(given))
    assert all(p.grad is not None and p.grad.isfinite().all() for p in block.parameters())


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


def test_pmfs_weights_start_equal_stay_positive_and_sum_to_one():
    block = PMFS([4, 6, 5], ch=3, fusion="weighted").double().eval()
    maps = [torch.randn(1, c, 4, 4, dtype=torch.float64) for c in (4, 6, 5)]
    seen = []
    block.channel_q.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    block(maps)
    features = [f(m) for f, m in zip(block.branches, maps, strict=True)]
    torch.testing.assert_close(seen[0], sum(features) / 3)
    block.fusion_logit_scale.data = torch.tensor([-50.0, 3.0, 3.0 + torch.log(torch.tensor(3.0))]).double()
    block(maps)
    torch.testing.assert_close(seen[1], features[1] / 4 + 3 * features[2] / 4)
    assert seen[1].shape[1] == 3  # ch, not ch * 3
    assert PMFS([4, 6, 5], ch=3).fusion_logit_scale is None


def test_pmfs_channel_on_one_position_has_nothing_to_weigh():
    block = randomised(PMFSChannel(6).double()).eval()
    x = torch.randn(2, 6, 1, 1, dtype=torch.float64)
    want = block(x)
    torch.nn.init.normal_(block.channel_k.pointwise.weight)
    assert torch.equal(block(x), want)
    block = randomised(PMFSChannel(6, statistics="mean_var").double()).eval()
    want = block(x)
    torch.nn.init.normal_(block.channel_variance.weight)
    assert torch.equal(block(x), want)


def test_pmfs_spatial_with_one_channel_of_a_key_does_without_it():
    block = randomised(PMFSSpatial(6, br=3, ch_k=1).double()).eval()
    x = torch.randn(2, 6, 3, 4, dtype=torch.float64)
    want = block(x)
    torch.nn.init.normal_(block.spatial_k.pointwise.weight)
    assert torch.equal(block(x), want)


def test_pmfs_variance_of_values_far_from_zero():
    block, x, seen = PMFSChannel(3, statistics="mean_var"), 1000 + torch.randn(2, 3, 10, 5), []
    block.channel_q = torch.nn.Identity()
    block.channel_variance.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    block(x)
    torch.testing.assert_close(seen[0], x.var((2, 3), correction=0))


def test_pmfs_spatial_defaults():
    for br, ch in ((1, 10), (3, 3), (20, 1)):
        block = PMFSSpatial(10, br)
        assert block.spatial_q.pointwise.out_channels == block.spatial_v.pointwise.out_channels == br * ch
        assert block.spatial_out.pointwise.out_channels == 10
    for block, widths in ((PMFSSpatial(10, 2, ch_k=3), (6, 10)), (PMFS([4, 6], 3, 2, 7, 5), (10, 35))):
        assert (block.spatial_q.pointwise.out_channels, block.spatial_v.pointwise.out_channels) == widths


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize(
    "layer",
    [
        torch.nn.Linear(4, 3, bias=False),
        torch.nn.LayerNorm(4, eps=0.5),
        torch.nn.Conv2d(4, 8, (3, 1), stride=2, padding=(1, 0), groups=2),
        torch.nn.BatchNorm2d(4, eps=0.5),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_in_float32(layer, dtype):
    layer = randomised(layer).to(dtype)
    x = torch.randn(2, 4, 5, 4).to(dtype)
    want = copy.deepcopy(layer).float().eval()(x.float())
    assert torch.equal(in_float32(layer.eval(), x), want)
    assert in_float32(layer, x).dtype == torch.float32
    assert torch.equal(in_float32(copy.deepcopy(layer).double(), x.double()), copy.deepcopy(layer).double()(x.double()))
    trained = copy.deepcopy(layer).train()  # keeps its precision, and its running statistics
    torch.testing.assert_close(in_float32(trained, x), copy.deepcopy(layer).train()(x).float())
    if isinstance(layer, torch.nn.BatchNorm2d):
        assert not torch.equal(trained.running_mean, layer.running_mean)


@pytest.mark.parametrize("statistics", STATISTICS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_pmfs_scores_in_float32(statistics, dtype):
    block = randomised(PMFSChannel(8, statistics=statistics)).eval()
    seen = []
    for name in ("channel_score", "channel_variance", "channel_norm"):
        if getattr(block, name) is not None:
            getattr(block, name).register_forward_hook(lambda _, args, out: seen.extend([args[0].dtype, out.dtype]))
    x = torch.randn(1, 8, 6, 6)
    with torch.autocast("cpu", dtype=dtype):
        block(x)
    assert set(seen) == {torch.float32}
    half = copy.deepcopy(block).to(dtype)
    got, want = half((1000 * x).to(dtype)), block(1000 * x)
    assert got.isfinite().all()
    assert (got.float() - want).abs().mean() < 0.05 * want.abs().mean()


@pytest.mark.parametrize("form", FORMS)
def test_pmfs_residual_is_that_of_the_last_map_after_its_kernel(form):
    block = PMFS([4, 6], 3, max_pool_kernels=[4, 2], form=form, residual=True).train()
    maps = [torch.randn(2, 4, 16, 16), torch.randn(2, 6, 8, 8)]
    assert torch.equal(block(maps), torch.nn.functional.max_pool2d(maps[1], 2))


@pytest.mark.export
@pytest.mark.filterwarnings("ignore")
def test_pmfs_of_no_whole_multiple_is_beyond_the_onnx_exporter_without_dynamo(tmp_path, capsys):
    block = PMFS([4, 6], ch=3).eval()
    maps = [torch.randn(1, 4, 9, 9), torch.randn(1, 6, 4, 4)]
    with pytest.raises(torch.onnx.errors.SymbolicValueError, match="not factor of input size"):
        torch.onnx.export(block, (maps,), tmp_path / "pmfs.onnx", dynamo=False)
    capsys.readouterr()  # the exporter prints its graph
