"""PMFS against a slow float64 loop over the paper's formulas, and each line of Deviations and Limits."""

import pytest
import torch
from oracles import arrays, assert_same, randomised
from reference.pmfs import pmfs

from yolo_attn.blocks import PMFS, GlobalPMFSBlock_AP_Separate
from yolo_attn.blocks.pmfs import resize

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
