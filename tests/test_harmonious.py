"""Soft and hard attention against slow float64 loops over the formulas, and each line of Deviations and Limits."""

import copy
import inspect
import io
import textwrap

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from loop_oracles import harmonious as loop
from oracles import arrays, assert_same
from torch import nn

from yolo_attn.blocks import ChannelAttn, HardAttn, HarmAttn, SoftAttn, SpatialAttn
from yolo_attn.blocks.nn.regions import RegionBottleneck, cut_regions, paste_regions
from yolo_attn.testing.block_inputs import randomised

ALL = (SpatialAttn, ChannelAttn, SoftAttn, HardAttn, HarmAttn)
SOFT = (SpatialAttn, ChannelAttn, SoftAttn)
SIZES = pytest.mark.parametrize("size", [(1, 1), (4, 6), (7, 5), (2, 9)], ids=str)
every_class = pytest.mark.parametrize("cls", ALL)


def a_map(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def build(cls, channels=6, **options):
    torch.manual_seed(0)
    block = randomised(cls(channels, **options).double()).eval()
    for name, p in block.named_parameters():
        if name.endswith("bn.bias"):  # or all of a map may end at a ReLU
            p.data = p.data.abs() + 0.5
    return block


def looped(x, f):
    return np.stack([f(sample) for sample in x.numpy()])


# Loops


@SIZES
@pytest.mark.parametrize("rectify", [False, True])
@pytest.mark.parametrize(
    ("cls", "logits", "options"),
    [(SpatialAttn, loop.spatial, {}), *((ChannelAttn, loop.channel, {"reduction": r}) for r in (2, 4, 16))],
)
def test_spatial_and_channel(size, cls, logits, options, rectify):
    block, x = build(cls, **options), a_map(2, 6, *size)
    assert_same(block(x), looped(x, lambda m: loop.relu(logits(m, arrays(block)))))
    layer = build(cls, apply=True, relu_before_sigmoid=rectify, **options)
    w, before = arrays(layer), loop.relu if rectify else np.positive
    assert_same(layer(x), looped(x, lambda m: m * loop.sigmoid(before(logits(m, w)))))


@SIZES
@pytest.mark.parametrize("rectify", [False, True])
def test_soft(size, rectify):
    block, x = build(SoftAttn, reduction=2, relu_before_sigmoid=rectify), a_map(2, 6, *size)
    w = arrays(block)
    assert_same(block(x), looped(x, lambda m: loop.soft(m, w, rectify=rectify)))
    layer = build(SoftAttn, reduction=2, relu_before_sigmoid=rectify, apply=True)
    assert_same(layer(x), looped(x, lambda m: m * loop.soft(m, arrays(layer), rectify=rectify)))


@SIZES
@pytest.mark.parametrize(("regions", "scale"), [(4, "fixed"), (3, "learnable"), (1, "fixed")])
def test_hard(size, regions, scale):
    x = a_map(2, 6, *size)
    block = build(HardAttn, regions=regions, scale=scale)
    w = arrays(block)
    assert_same(block(x), looped(x, lambda m: np.stack([t for t, _ in loop.placement(m, regions, w)])))
    layer = build(HardAttn, regions=regions, scale=scale, local_reduction=2, apply=True)
    assert_same(layer(x), looped(x, lambda m: m + loop.hard(m, regions, arrays(layer))))


@SIZES
@pytest.mark.parametrize("scale", ["fixed", "learnable"])
def test_harm(size, scale):
    x = a_map(2, 6, *size)
    layer = build(HarmAttn, reduction=2, regions=3, scale=scale, local_reduction=3, apply=True)
    w = arrays(layer)
    assert_same(layer(x), looped(x, lambda m: m * loop.soft(m, w, "soft_attn.") + loop.hard(m, 3, w, "hard_attn.")))


# The classes as in the source


def test_the_local_branch_exists_in_the_layer_form_only():
    assert [n for n, _ in HardAttn(32).named_parameters()] == ["fc.weight", "fc.bias"]
    assert any("local." in n for n, _ in HardAttn(32, apply=True).named_parameters())
    assert not any("local." in n for n, _ in HarmAttn(32).named_parameters())


@every_class
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_bare_maps_keep_the_dtype(cls, dtype):
    options = {"channels": 32} if cls is not SpatialAttn else {}
    y = cls(**options).to(dtype).eval()(torch.randn(1, 32, 5, 4, dtype=dtype))
    assert all(part.dtype == dtype for part in (y if isinstance(y, tuple) else (y,)))


# Errors


@every_class
def test_what_needs_the_layer_form(cls):
    for option, value in (("residual", True), ("relu_before_sigmoid", True), ("local_reduction", 2)):
        used = option == "relu_before_sigmoid" and cls in (SoftAttn, HarmAttn)  # their gate map has it already
        if option in inspect.signature(cls).parameters and not used:
            with pytest.raises(ValueError, match=rf"^{cls.__name__}: {option}={value} .*apply=False.*apply=True"):
                cls(64, **{option: value})
    with pytest.raises(ValueError, match=rf"^{cls.__name__}: apply=1 "):
        cls(64, apply=1)


def test_residual_of_spatial_attn_needs_the_channels():
    with pytest.raises(ValueError, match=r"^SpatialAttn: channels=None .*residual=True"):
        SpatialAttn(apply=True, residual=True)


# Soft attention: Deviations and Limits


@pytest.mark.parametrize("cls", SOFT)
def test_a_gate_can_close_unless_rectified(cls):
    x = a_map(4, 6, 8, 8).abs() + 1
    free, rectified = (build(cls, apply=True, relu_before_sigmoid=r).train() for r in (False, True))
    last = free.conv if cls is SoftAttn else free.conv2
    nn.init.constant_(last.bn.bias, 0.0)
    rectified.load_state_dict(free.state_dict())
    assert (free(x) / x).min() < 0.45
    assert (rectified(x) / x).min() >= 0.5 - 1e-12
    assert (rectified(x) / x).max() > 0.55


def authors_spatial(block, x):
    """The authors' order of operations: resized to twice the size of the strided map."""
    s = block.conv1(x.mean(1, keepdim=True)).relu()
    s = F.interpolate(s, scale_factor=2, mode="bilinear", align_corners=True)
    return block.conv2(s).relu()


def test_odd_sizes_come_out_as_they_are():
    block = build(SpatialAttn)
    for size in ((4, 6), (2, 2), (10, 8)):
        x = a_map(2, 6, *size)
        assert_same(block(x), authors_spatial(block, x).detach().numpy())
    odd = a_map(2, 6, 7, 5)
    assert authors_spatial(block, odd).shape == (2, 1, 8, 6)
    assert block(odd).shape == (2, 1, 7, 5)
    assert build(SoftAttn)(odd).shape == odd.shape
    full = F.interpolate(
        block.conv1(odd.mean(1, keepdim=True)).relu(), size=(7, 5), mode="bilinear", align_corners=True
    )
    assert_same(block(odd), block.conv2(full).relu().detach().numpy())


@pytest.mark.parametrize(("channels", "reduction", "width"), [(48, 32, 1), (80, 16, 5), (8, 16, 1), (100, 16, 6)])
def test_reduction_need_not_divide(channels, reduction, width):
    assert ChannelAttn(channels, reduction).conv1.conv.out_channels == width
    assert SoftAttn(channels, reduction).channel_attn.conv1.conv.out_channels == width


@pytest.mark.parametrize(("cls", "size"), [(SpatialAttn, (2, 2)), (ChannelAttn, (8, 8)), (SoftAttn, (1, 1))])
def test_one_value_per_channel_trains_with_running_statistics(cls, size):
    block, x = build(cls).train(), a_map(1, 6, *size)
    # what a plain batch norm does there
    with pytest.raises(ValueError, match="Expected more than 1 value per channel"):
        nn.BatchNorm2d(6).double().train()(a_map(1, 6, 1, 1))
    before = copy.deepcopy(block)
    y = block(x)
    still = [n for n, m in block.named_modules() if isinstance(m, nn.BatchNorm2d) and m.num_batches_tracked == 0]
    if cls is SpatialAttn:  # conv2 sees the 2x2 positions
        assert still == ["conv1.bn"]
    else:
        assert len(still) == {ChannelAttn: 2, SoftAttn: 5}[cls]
        torch.testing.assert_close(y, before.eval()(x))


def test_soft_attn_with_one_image_norms_its_channel_attention_by_running_statistics():
    block = build(SoftAttn).train()
    block(a_map(1, 6, 8, 8))
    tracked = {n: int(m.num_batches_tracked) for n, m in block.named_modules() if isinstance(m, nn.BatchNorm2d)}
    assert {n for n, count in tracked.items() if not count} == {"channel_attn.conv1.bn", "channel_attn.conv2.bn"}


def test_two_samples_are_normed_to_plus_and_minus_one():
    block = build(ChannelAttn, reduction=2).train()
    seen = []
    block.conv1.bn.register_forward_hook(lambda bn, _, y: seen.append((y - bn.bias.reshape(1, -1, 1, 1)).flatten(1)))
    near, far = a_map(1, 6, 4, 4), a_map(1, 6, 4, 4, seed=1)
    for other in (far, 3 * far - 2 * near):
        block(torch.cat([near, other]))
    torch.testing.assert_close(seen[0], seen[1], rtol=0, atol=5e-3)
    torch.testing.assert_close(seen[0].abs(), block.conv1.bn.weight.abs().expand(2, 3), rtol=0, atol=5e-3)


def test_the_last_convolution_runs_on_the_vector():
    """The same as on the product, without a product of C x C at every position."""
    from torch.utils.flop_counter import FlopCounterMode

    block, x = build(SoftAttn), a_map(2, 6, 8, 8)
    product = block.spatial_attn(x) * block.channel_attn(x)
    torch.testing.assert_close(block(x), block.conv(product).sigmoid())
    counts = []
    for size in (8, 16):
        with FlopCounterMode(display=False) as flops, torch.no_grad():
            SoftAttn(64).eval()(torch.randn(1, 64, size, size))
        counts.append(flops.get_total_flops())
    assert counts[1] - counts[0] < 16 * 16 * 64  # with it on the map: 2 * 192 * 64 * 64


@pytest.mark.parametrize("cls", SOFT)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_the_gate_is_float32_under_autocast_and_in_half(cls, dtype):
    block = build(cls, 32, apply=True).float()
    with torch.no_grad():
        norms = [p for n, p in block.named_parameters() if n.endswith("conv1.bn.weight")]
        for p in norms:
            p.fill_(400.0)  # maps whose product half precision cannot hold
    x = 100 * torch.randn(2, 32, 8, 8, generator=torch.Generator().manual_seed(0))
    want = block(x)
    with torch.autocast("cpu", dtype=dtype):
        torch.testing.assert_close(block(x), want, rtol=2e-6, atol=1e-4)
    seen = []
    for module in block.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.register_forward_pre_hook(lambda _, args: seen.append(args[0].dtype))
    with torch.autocast("cpu", dtype=dtype):
        block(x)
    assert seen
    assert set(seen) == {torch.float32}
    half = copy.deepcopy(block).to(dtype)
    exact = copy.deepcopy(half).float()(x.to(dtype).float())  # the same rounded weights and input
    torch.testing.assert_close(half(x.to(dtype)), exact.to(dtype), rtol=2 * torch.finfo(dtype).eps, atol=0.02)


# Hard attention: where the regions lie


@pytest.mark.parametrize(
    ("n", "rows"), [(1, [0]), (2, [-0.5, 0.5]), (3, [-2 / 3, 0, 2 / 3]), (4, [-0.75, -0.25, 0.25, 0.75])]
)
def test_regions_start_one_below_the_other(n, rows):
    want = torch.tensor([[0.0, row] for row in rows]).tanh().expand(2, n, 2)
    torch.testing.assert_close(HardAttn(16, n, apply=True).translations(torch.randn(2, 16, 5, 5)), want)


def test_tanh_moves_the_start_inwards():
    layer = HardAttn(16)
    t_y = layer.translations(torch.randn(1, 16, 8, 8))[0, :, 1]
    assert [round(v, 2) for v in t_y.tolist()] == [-0.64, -0.24, 0.24, 0.64]
    boxes = layer.boxes(torch.randn(1, 16, 8, 8))[0]
    assert round(boxes[0, 1].item(), 2) == 0.06
    assert round(1 - boxes[3, 3].item(), 2) == 0.06
    assert (boxes[:-1, 3] > boxes[1:, 1]).all()  # they overlap


@pytest.mark.parametrize("n", [1, 3, 4])
def test_a_learnable_scale_starts_at_the_fixed_one_and_stays_near(n):
    fixed, learnable = HardAttn(16, n), HardAttn(16, n, "learnable")
    x = torch.randn(2, 16, 5, 5)
    assert torch.equal(fixed.theta(x), learnable.theta(x))
    s = learnable.placement(x)[1]
    assert torch.equal(s, torch.tensor([1.0, 1 / n]).expand(2, n, 2))
    for bias, factor in ((1e4, 2.0), (-1e4, 0.5)):
        nn.init.constant_(learnable.fc_scale.bias, bias)
        torch.testing.assert_close(learnable.placement(x)[1], s * factor)
    nn.init.normal_(learnable.fc_scale.weight)
    nn.init.zeros_(learnable.fc_scale.bias)
    assert learnable.placement(x)[1].unique().numel() == 4 * n  # each sample, region and axis has its own


@pytest.mark.parametrize("cls", [HardAttn, HarmAttn])
def test_theta_and_boxes(cls):
    layer, x = build(cls, regions=3, scale="learnable", apply=True), a_map(2, 6, 7, 5)
    t, s = getattr(layer, "hard_attn", layer).placement(x)
    theta, boxes = layer.theta(x), layer.boxes(x)
    assert torch.equal(theta, torch.cat([torch.diag_embed(s), t.unsqueeze(3)], 3))
    assert torch.equal(t, layer.translations(x))
    corners = torch.tensor([[-1.0, -1, 1], [1, 1, 1]], dtype=torch.float64)
    moved = torch.einsum("bnij,kj->bnki", theta, corners).flatten(2)  # x1 y1 x2 y2, from -1 to 1
    torch.testing.assert_close(boxes, ((moved + 1) / 2).clamp(0, 1))


@pytest.mark.parametrize("cls", [HardAttn, HarmAttn])
def test_the_recipe_for_drawing(cls):
    text = inspect.getdoc(HardAttn)
    code = textwrap.dedent(text[text.index("::\n") + 3 : text.index("Shape:")]).replace("HardAttn", cls.__name__)
    model = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), cls(8, apply=True), nn.Conv2d(8, 2, 1))
    found = {"model": model, cls.__name__: cls, "torch": torch, "images": torch.randn(2, 3, 64, 96)}
    found |= {"width": 96, "height": 64}
    exec(code, found)
    assert found["boxes"].shape == (2, 4, 4)
    assert found["boxes"][..., 2].max() == 96
    assert 30 < found["boxes"][0, 2, 1] < 64
    assert not model[1]._forward_pre_hooks


# Cutting out and writing back


def regions(n=3, batch=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    t = torch.rand(batch, n, 2, dtype=torch.float64, generator=generator) * 1.6 - 0.8
    s = torch.rand(batch, n, 2, dtype=torch.float64, generator=generator) + 0.3
    return t, s


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (8, 8), (11, 4)], ids=str)
def test_cut_and_write_back_are_grid_sample_of_the_affine_grid(size):
    x, (t, s) = a_map(2, 3, 7, 6), regions()
    got = cut_regions(x, t, s, size)
    assert got.shape == (2, 3, 3, *size)
    back = paste_regions(got, t, s, (7, 6))
    want = torch.zeros_like(x)
    for k in range(3):
        theta = torch.cat([torch.diag_embed(s[:, k]), t[:, k].unsqueeze(2)], 2)
        grid = F.affine_grid(theta, (2, 3, *size), align_corners=False)
        torch.testing.assert_close(got[:, :, k], F.grid_sample(x, grid, align_corners=False, padding_mode="zeros"))
        inverse = torch.cat([torch.diag_embed(1 / s[:, k]), (-t[:, k] / s[:, k]).unsqueeze(2)], 2)
        grid = F.affine_grid(inverse, (2, 3, 7, 6), align_corners=False)
        want += F.grid_sample(got[:, :, k].contiguous(), grid, align_corners=False, padding_mode="zeros")
    torch.testing.assert_close(back, want)


def test_cut_has_neither_aligned_corners_nor_repeated_edges():
    x = torch.arange(8.0).reshape(1, 1, 8, 1) + 1
    one = torch.ones(1, 1, 2)
    got = cut_regions(x, 0 * one, one * torch.tensor([1.0, 0.25]), (2, 1)).flatten()
    torch.testing.assert_close(got, torch.tensor([4.0, 5.0]))  # aligned corners: 3.625, 5.375
    outside = cut_regions(x, one * torch.tensor([0.0, 1.0]), one, (8, 1)).flatten()
    torch.testing.assert_close(outside, torch.tensor([5.0, 6, 7, 8, 0, 0, 0, 0]))


@pytest.mark.parametrize("n", [1, 2, 4, 8])
def test_regions_side_by_side_come_back_as_the_map(n):
    x = a_map(2, 3, 8, 5)
    t = torch.tensor([[0.0, (2 * i + 1) / n - 1] for i in range(n)], dtype=torch.float64).expand(2, n, 2)
    s = torch.tensor([1.0, 1 / n], dtype=torch.float64).expand(2, n, 2)
    crops = cut_regions(x, t, s, (8 // n, 5))
    torch.testing.assert_close(crops, x.reshape(2, 3, n, 8 // n, 5))
    torch.testing.assert_close(paste_regions(crops, t, s, (8, 5)), x)


@pytest.mark.parametrize("shift", [0.0, 0.13])
def test_translations_and_scales_get_gradients(shift):
    x, (t, s) = a_map(1, 2, 5, 4).requires_grad_(), regions(2, 1)
    t = (t + shift).requires_grad_()
    s = s.requires_grad_()
    assert torch.autograd.gradcheck(lambda x, t, s: cut_regions(x, t, s, (3, 4)), (x, t, s))
    crops = a_map(1, 2, 2, 3, 4).requires_grad_()
    assert torch.autograd.gradcheck(lambda r, t, s: paste_regions(r, t, s, (5, 4)), (crops, t, s))


def test_a_fresh_layer_learns_where_to_look():
    """The weights of ``fc`` start at zero, and get a gradient all the same."""
    layer = HardAttn(8, scale="learnable", apply=True)
    layer(torch.randn(2, 8, 8, 8)).square().sum().backward()
    for linear in (layer.fc, layer.fc_scale):
        assert linear.weight.grad.abs().max() > 0
        assert linear.bias.grad.abs().min() > 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_regions_are_float32_under_autocast_and_in_half(dtype):
    x, (t, s) = torch.randn(1, 4, 160, 8), regions(2, 1)
    t, s = t.float(), s.float()
    want = cut_regions(x, t, s, (80, 8))
    with torch.autocast("cpu", dtype=dtype):
        assert torch.equal(cut_regions(x, t, s, (80, 8)), want)
        assert torch.equal(paste_regions(want, t, s, (160, 8)), paste_regions(want.clone(), t, s, (160, 8)))
    rounded = x.to(dtype)
    assert torch.equal(cut_regions(rounded, t, s, (80, 8)), cut_regions(rounded.float(), t, s, (80, 8)).to(dtype))
    layer = randomised(HardAttn(4, scale="learnable", apply=True)).eval()
    theta = layer.theta(x)
    with torch.autocast("cpu", dtype=dtype):
        torch.testing.assert_close(layer.theta(x), theta, rtol=0, atol=1e-6)
    half = layer.to(dtype)
    assert half.theta(rounded).dtype == torch.float32
    torch.testing.assert_close(half.theta(rounded), copy.deepcopy(half).float().theta(rounded.float()))


def test_a_region_is_read_once_at_its_own_resolution():
    layer = build(HardAttn, 6, regions=4, scale="learnable", apply=True)
    sizes = []
    layer.local.conv.register_forward_pre_hook(lambda _, args: sizes.append(tuple(args[0].shape)))
    for H, h, bias in ((8, 2, 0.0), (10, 3, 0.0), (3, 1, 0.0), (10, 3, 50.0)):  # the last: regions of twice the size
        nn.init.constant_(layer.fc_scale.bias, bias)
        layer(a_map(2, 6, H, 5))
        assert sizes.pop() == (2 * 4, 1, h, 5)
        assert not sizes  # all regions at once


def test_the_local_branch_crops_before_it_reduces():
    """1x1 convolutions without bias commute with sampling: done on the whole map, they are those of the crops."""
    branch = randomised(RegionBottleneck(8, 2).double()).eval()
    x, (t, s) = a_map(2, 8, 9, 7), regions(4)
    crops = cut_regions(x, t, s, (3, 7)).transpose(1, 2).reshape(8, 8, 3, 7)
    z = branch.reduce_bn(branch.reduce(crops)).relu()
    z = branch.expand(branch.conv_bn(branch.conv(z)).relu())
    z = z.reshape(2, 4, 8, 3, 7).transpose(1, 2)
    torch.testing.assert_close(branch(x, t, s), paste_regions(z, t, s, (9, 7)))


# Hard attention: Limits


def test_beyond_half_a_cell_around_the_regions_nothing_changes():
    layer, x = build(HardAttn, 6, regions=4, apply=True), a_map(1, 6, 32, 9)
    nn.init.zeros_(layer.fc.weight)
    layer.fc.bias.data = torch.tensor([0.5, -0.75] * 4).double().atanh()  # all four in one place: rows 0 to 7
    changed = (layer(x) - x).abs().amax((0, 1)) > 0
    assert changed[:8, 3:].all()
    assert not changed[9:].any()  # the center of the row after the edge at 8 is half a cell away
    assert not changed[8].any() or (layer(x) - x)[..., 8, :].abs().max() < 1e-12
    assert not changed[:, :2].any()  # the region begins at column 2.25
    # between two rows, the edge fades
    one = torch.ones(1, 1, 1, 8, 1, dtype=torch.float64)
    place = torch.tensor([[[0.0, -0.75 + 2 * 0.25 / 32]]]).double(), torch.tensor([[[1.0, 0.25]]]).double()
    rows = paste_regions(one, *place, (32, 1)).flatten()
    torch.testing.assert_close(rows[:10], torch.tensor([0.75, 1, 1, 1, 1, 1, 1, 1, 0.25, 0]).double())


def test_a_region_between_two_rows_has_no_effect():
    layer = build(HardAttn, 6, regions=4, apply=True)
    nn.init.zeros_(layer.fc.weight)
    x = a_map(1, 6, 2, 4)  # rows with their middles at -0.5 and 0.5
    layer.fc.bias.data = torch.tensor([0.0, 0.0] * 4).double()  # from -0.25 to 0.25, faded out at 0.5
    torch.testing.assert_close(layer(x), x, rtol=0, atol=1e-15)
    layer.fc.bias.data = torch.tensor([0.0, 0.3] * 4).double()
    assert not torch.allclose(layer(x), x)


def test_one_region_of_one_position_trains_with_running_statistics():
    layer = build(HardAttn, 6, regions=1, apply=True)
    x = a_map(1, 6, 1, 1)
    want = layer(x)
    torch.testing.assert_close(layer.train()(x), want)
    assert layer.local.reduce_bn.num_batches_tracked == 0
    build(HardAttn, 6, regions=2, apply=True).train()(x)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_the_backward_pass_of_grid_sample_is_not_deterministic_on_cuda():
    layer = HardAttn(8, apply=True).cuda()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with pytest.warns(UserWarning, match="grid_sampler_2d_backward_cuda does not have a deterministic"):
            layer(torch.randn(1, 8, 8, 8, device="cuda")).sum().backward()
    finally:
        torch.use_deterministic_algorithms(False)


@pytest.mark.export
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the exporter that Ultralytics uses
@pytest.mark.filterwarnings("ignore:Converting a tensor to a Python:torch.jit.TracerWarning")
def test_onnx_has_grid_sample_since_opset_16():
    layer, x = HardAttn(8, apply=True).eval(), torch.randn(1, 8, 8, 8)
    with pytest.raises(torch.onnx.errors.UnsupportedOperatorError, match=r"grid_sampler.* version 15 .* version 16"):
        torch.onnx.export(layer, (x,), io.BytesIO(), opset_version=15, dynamo=False)


# Harmonious attention


def test_harm_hands_its_options_on():
    layer = HarmAttn(32, 8, 3, "learnable", 2, True, True)
    assert layer.soft_attn.channel_attn.conv1.conv.out_channels == 4
    assert layer.soft_attn.relu_before_sigmoid
    assert layer.hard_attn.regions == 3
    assert layer.hard_attn.fc_scale is not None
    assert layer.hard_attn.local.conv.out_channels == 16
    assert HardAttn(8, local_reduction=64, apply=True).local.conv.out_channels == 1
