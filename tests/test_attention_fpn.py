"""AttentionFPN against a slow float64 loop over the pyramid's formulas; PyramidLevel; each line of their docstrings."""

import pytest
import torch
from loop_oracles.attention_fpn import pyramid
from loop_oracles.global_context import global_context
from oracles import LargestTensor, arrays, assert_same

from yolo_attn.blocks import AttentionFPN, GlobalContext, GlobalLocalAttention, PyramidLevel
from yolo_attn.registry import BLOCKS
from yolo_attn.testing.block_inputs import randomised

CHANNELS = [4, 6, 5]
SIZES = {
    "halves": [(8, 4), (4, 2), (2, 1)],
    "odd": [(7, 5), (4, 3), (2, 2)],
    "smallest first": [(1, 1), (3, 2), (5, 7)],
    "middle first": [(3, 4), (7, 9), (2, 2)],
    "one position": [(1, 1), (1, 1), (1, 1)],
    "across": [(6, 2), (3, 3), (2, 4)],  # the smaller one is wider
}
sizes = pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)


def maps(size, channels=CHANNELS, batch=2):
    return [torch.randn(batch, c, *s, dtype=torch.float64) for c, s in zip(channels, size, strict=True)]


def assert_same_pyramid(got, x, weights, attentions):
    assert isinstance(got, list)
    for b in range(x[0].shape[0]):
        want = pyramid([m[b].numpy() for m in x], weights, attentions)
        for one, other in zip(got, want, strict=True):
            assert_same(one[b], other)


@sizes
@pytest.mark.parametrize("out_width", [None, 3])
def test_the_papers_pyramid(size, out_width):
    block = randomised(AttentionFPN(CHANNELS, 7, "none", out_width=out_width).double())
    x = maps(size)
    y = block(x)
    assert_same_pyramid(y, x, arrays(block), [lambda m: m] * 3)
    assert [m.shape[1] for m in y] == ([3] * 3 if out_width else CHANNELS)


@sizes
def test_with_global_context(size):
    block = randomised(AttentionFPN(CHANNELS, 32, "global_context").double())
    x = maps(size, batch=1)
    weights = [arrays(a) for a in block.attentions]
    assert_same_pyramid(block(x), x, arrays(block), [lambda m, w=w: global_context(m[None], w)[0] for w in weights])


@sizes
def test_with_global_local(size):
    block = randomised(AttentionFPN(CHANNELS, heads=2).double()).eval()
    x = maps(size)
    layers = [lambda m, a=a: a(torch.from_numpy(m[None])).detach().numpy()[0] for a in block.attentions]
    assert_same_pyramid(block(x), x, arrays(block), layers)


@pytest.mark.parametrize("count", [1, 2, 4])
def test_any_number_of_maps(count):
    channels = [8, 16, 8, 24][:count]
    x = [torch.randn(1, c, 8 // 2**n, 8 // 2**n) for n, c in enumerate(channels)]
    assert [m.shape for m in AttentionFPN(channels)(x)] == [m.shape for m in x]


def test_options_reach_the_attention():
    options = {"heads": 4, "kernel": "linear", "extent": "window", "position": "none", "window": 5, "reduction": 2}
    options |= {"depthwise": False}
    block = AttentionFPN([16, 32], 24, **options)
    torch.manual_seed(0)
    same = GlobalLocalAttention(24, **options).eval()
    x = torch.randn(1, 24, 11, 7)
    for attention in block.attentions:
        assert type(attention) is GlobalLocalAttention
        attention.load_state_dict(same.state_dict())
        assert torch.equal(attention.eval()(x), same(x))
    plain = AttentionFPN([16, 32]).attentions[0]
    windowed = GlobalLocalAttention(16, extent="window", window=8, reduction=4, depthwise=True).eval()
    plain.load_state_dict(windowed.state_dict())
    x = torch.randn(1, 16, 11, 17)
    assert torch.equal(plain.eval()(x), windowed(x))
    assert type(AttentionFPN([16, 32], attention="global_context").attentions[1]) is GlobalContext


@pytest.mark.parametrize(
    ("channels", "heads", "width"), [([128, 128, 256], 8, 128), ([12, 32], 8, 16), ([32, 12], 5, 15), ([4], 8, 8)]
)
def test_width_is_the_smallest_channels_or_a_little_more(channels, heads, width):
    assert AttentionFPN(channels, heads=heads).laterals[0].out_channels == width


@pytest.mark.parametrize("extent", ["window", "global"])
def test_memory_is_that_of_the_attention(extent):
    x = [torch.randn(1, 16, 32, 32, requires_grad=True), torch.randn(1, 16, 16, 16)]
    with LargestTensor() as most:
        AttentionFPN([16, 16], extent=extent)(x)[0].mean().backward()
    with LargestTensor() as alone:
        layer = GlobalLocalAttention(16, extent=extent, reduction=4)
        layer(torch.randn(1, 16, 32, 32, requires_grad=True)).mean().backward()
    assert most.elements == alone.elements


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 12}, r"heads=8 .*width=12.*\[1, 2, 3, 4, 6"),
        ({"out_width": 8, "residual": True}, r"residual=True .*channels=\[8, 8\].*out_width=8"),
    ],
    ids=str,
)
def test_says_what_is_wrong(options, message):
    with pytest.raises(ValueError, match=f"^AttentionFPN: {message}"):
        AttentionFPN([8, 8], **options)
    AttentionFPN([8, 8], 12, "none")  # has no heads


@pytest.mark.parametrize("block", [AttentionFPN, PyramidLevel])
def test_wants_as_many_maps_as_channels(block):
    with pytest.raises(ValueError, match=rf"^{block.__name__}: maps=1 .*2.*channels=\[8, 8\]"):
        block([8, 8])([torch.randn(1, 8, 4, 4)])


@pytest.mark.parametrize("options", [{}, {"out_width": 24}], ids=str)
def test_the_registry_knows_its_channels(options):
    spec = BLOCKS["AttentionFPN"]
    x = [torch.randn(1, 8, 4, 4), torch.randn(1, 16, 2, 2)]
    assert [m.shape[1] for m in spec.build([8, 16], **options)(x)] == spec.output([8, 16], options)


@pytest.mark.parametrize("level", [0, 1, 2])
def test_pyramid_level_picks_a_map(level):
    x = maps([(4, 4), (2, 2), (1, 1)])
    block = PyramidLevel(CHANNELS, level)
    assert block(x) is x[level]
    assert BLOCKS["PyramidLevel"].output(CHANNELS, {"level": level}) == CHANNELS[level]
    assert BLOCKS["PyramidLevel"].output(CHANNELS, {}) == CHANNELS[0]


@pytest.mark.parametrize("bad", [3, -1, 1.0, True, None, "0"])
def test_pyramid_level_wants_one_that_is_there(bad):
    message = rf"^PyramidLevel: level={bad!r} .*\[0, 1, 2\]$"
    with pytest.raises(ValueError, match=message):
        PyramidLevel(CHANNELS, bad)
    with pytest.raises(ValueError, match=message):
        BLOCKS["PyramidLevel"].output(CHANNELS, {"level": bad})
