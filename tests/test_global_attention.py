"""Multi-head attention against loops over the formulas, and the identities between its forms."""

import itertools
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from authors_cases.global_local import cyclic_mask
from loop_oracles.global_attention import attention
from oracles import arrays, assert_same

from yolo_attn.blocks import MultiHeadGlobalAttention
from yolo_attn.blocks.global_attention import EXTENTS, KERNELS, POSITIONS
from yolo_attn.blocks.nn.attention_kernels import LinearAttention, PerformerAttention, SoftmaxAttention
from yolo_attn.blocks.nn.positions import RotaryPositionEmbedding
from yolo_attn.blocks.nn.reformer import ReformerAttention
from yolo_attn.testing.block_inputs import randomised

FORMS = [
    {},
    {"qkv_bias": True, "position": "none"},
    {"position_size": 3},  # interpolated on the larger maps
    {"position": "absolute", "position_size": 3},
    {"position": "rope"},
    {"position": "rope", "theta": 7.5},
    {"position": "rope_mixed"},
    {"extent": "window", "window": 3},
    {"extent": "window", "window": 7},  # one window
    {"extent": "window", "window": "dynamic", "divisions": 2, "position_size": 2},
    {"extent": "shifted", "window": 3},
    {"extent": "shifted", "window": 4, "shift": 1, "position": "rope"},
    {"extent": "shifted", "window": "dynamic", "divisions": 2},
    {"extent": "overlap", "window": 2, "overlap": 1},
    {"extent": "overlap", "window": 2, "overlap": 0},  # the same as window
    {"extent": "overlap", "window": "dynamic", "divisions": 3, "overlap": 2, "position_size": 2},
    {"extent": "multiscale", "windows": [2, 3, 5], "heads": 4},
    {"extent": "multiscale", "windows": [3, 3]},
    {"kernel": "performer", "position": "none", "features": 5},
    {"kernel": "performer", "position": "rope", "extent": "window", "window": 3, "features": 9},
    {"kernel": "performer", "position": "none", "extent": "shifted", "window": 3, "features": 9},
    {"kernel": "performer", "position": "none", "extent": "overlap", "window": 3, "overlap": 0, "features": 9},
    {"kernel": "linear", "position": "none"},
    {"kernel": "linear", "position": "absolute", "extent": "window", "window": 3},
    {"kernel": "linear", "position": "none", "extent": "overlap", "window": 3, "overlap": 1, "feature_map": "softmax"},
    {"kernel": "linear", "position": "none", "extent": "multiscale", "windows": [2, 4], "feature_map": "softmax"},
    {"kernel": "linformer", "position": "none", "linformer_size": 4, "linformer_grid": [2, 3]},
    {"kernel": "linformer", "position": "absolute", "linformer_size": 2, "linformer_grid": [5, 3]},
    {"kernel": "reformer", "position": "none", "bucket_size": 3, "hashes": 1},
    {"kernel": "reformer", "position": "rope", "bucket_size": 4, "hashes": 3},
]


def an_id(options):
    return "-".join(str(v) for v in options.values()) or "default"


def drawn(*shape):
    return torch.randn(*shape, dtype=torch.float64)


@pytest.mark.parametrize("options", FORMS, ids=an_id)
@pytest.mark.parametrize("size", [(1, 1), (5, 3), (4, 7)], ids=str)
def test_attention(options, size):
    options = {"heads": 2, **options}
    block = randomised(MultiHeadGlobalAttention(8, **options).double())
    x = drawn(2, 8, *size)
    theta = options.pop("theta", 100.0) if options.get("position") == "rope" else None
    for name in ("position", "qkv_bias", "features", "linformer_size", "hashes"):
        options.pop(name, None)
    assert_same(block(x), attention(x.numpy(), arrays(block), theta=theta, **options))


# Which forms there are


def table_of_the_docstring():
    """Kernel -> extents and positions that it goes with."""
    lines = MultiHeadGlobalAttention.__doc__.splitlines()
    first, second, last = (n for n, line in enumerate(lines) if line.strip().startswith("==="))
    columns = [m.span() for m in re.finditer("=+", lines[first])]
    rows = [
        [line[a : None if a == columns[2][0] else b].strip() for a, b in columns] for line in lines[second + 1 : last]
    ]
    return {kernel: (extents.split(", "), positions.split(", ")) for kernel, extents, positions in rows}


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("extent", EXTENTS)
def test_every_combination_runs_or_says_why_not(kernel, extent):
    extents, positions = table_of_the_docstring()[kernel]
    for position, window in itertools.product(POSITIONS, (3, "dynamic")):
        options = {"kernel": kernel, "extent": extent, "position": position}
        if extent in ("window", "shifted", "overlap"):
            options["window"] = window
        elif window == "dynamic":
            continue
        options |= {"windows": [2, 3]} if extent == "multiscale" else {}
        options |= {"bucket_size": 4} if kernel == "reformer" else {}
        if extent in extents and position in positions:
            block = MultiHeadGlobalAttention(8, 2, **options)
            x = torch.randn(1, 8, 7, 5, requires_grad=True)
            block(x).square().sum().backward()
            assert all(t.grad.isfinite().all() for t in (x, *block.parameters()))
            continue
        wrong = "position" if extent in extents else "extent"
        message = rf"^MultiHeadGlobalAttention: {wrong}='{options[wrong]}' .*kernel='{kernel}'"
        with pytest.raises(ValueError, match=message) as error:
            MultiHeadGlobalAttention(8, 2, **options)
        works = re.findall(r"'(\w+)'", str(error.value).split("; ")[-1])
        assert {"global"} <= set(works) or set(works) == set(positions)


def test_the_table_names_every_kernel():
    assert set(table_of_the_docstring()) == set(KERNELS)


# Identities


SHIFTED = [
    p for p in sorted((Path(__file__).parent / "authors_outputs").glob("*.npz")) if "shifted" in str(np.load(p)["meta"])
]


@pytest.mark.parametrize("path", SHIFTED, ids=lambda p: p.stem)
def test_shifted_windows_equal_swins_mask(path):
    with np.load(path) as case:
        meta = json.loads(str(case["meta"]))
        want = torch.from_numpy(case["param/attn_mask"])
        H, W = case["input/0"].shape[2:]
    got = cyclic_mask(H, W, meta["window"], meta["shift"])
    assert torch.equal(got, want)
    assert (want < 0).any()


@pytest.mark.parametrize("hashes", [1, 3])
@pytest.mark.parametrize("size", [(4, 5), (1, 1), (1, 2)], ids=str)
def test_lsh_with_one_chunk_is_full_attention_with_shared_q_and_k(hashes, size):
    block = ReformerAttention(8, hashes, 20)
    q, v = drawn(2, 3, *size, 8), drawn(2, 3, *size, 8)
    flat, N = q.flatten(2, 3), size[0] * size[1]
    keys = flat / flat.norm(dim=3, keepdim=True)
    others = ~torch.eye(N, dtype=torch.bool) if N > 1 else None  # itself at last resort
    want = torch.nn.functional.scaled_dot_product_attention(flat, keys, v.flatten(2, 3), attn_mask=others)
    torch.testing.assert_close(block(q, q, v), want.reshape(q.shape), rtol=1e-12, atol=1e-12)


def test_lsh_attends_to_what_is_alike():
    """Vectors near one of several directions find each other, whatever their places."""
    directions = torch.nn.functional.normalize(drawn(8, 16), dim=1)
    kind = torch.randint(8, (256,))
    q = (directions[kind] * 30 + drawn(256, 16) * 0.1).reshape(1, 1, 16, 16, 16)
    v = torch.nn.functional.one_hot(kind, 8).double().reshape(1, 1, 16, 16, 8)
    v = torch.nn.functional.pad(v, (0, 8))
    y = ReformerAttention(16, 2, 32)(q, q, v).reshape(256, 16)
    assert (y.argmax(1) == kind).double().mean() > 0.95


@pytest.mark.parametrize("mixed", [False, True])
def test_rope_scores_depend_on_the_offset_only(mixed):
    rotation = RotaryPositionEmbedding(3, 8, 100.0 if not mixed else 10.0, mixed).double()
    q, k = (drawn(1, 3, 1, 1, 8).expand(1, 3, 5, 6, 8) for _ in range(2))
    scores = torch.einsum("bhijd,bhkld->hijkl", *rotation(q, k))
    by_offset = {}
    for i, j, a, b in itertools.product(range(5), range(6), range(5), range(6)):
        by_offset.setdefault((i - a, j - b), []).append(scores[:, i, j, a, b])
    assert len(by_offset) == 9 * 11
    for same in by_offset.values():
        torch.testing.assert_close(torch.stack(same), same[0].expand(len(same), 3), rtol=1e-11, atol=1e-11)
    assert torch.stack([same[0] for same in by_offset.values()]).std(0).min() > 0.01


def test_rope_mixed_starts_with_the_axial_frequencies_in_a_direction_of_each_head():
    rotation = RotaryPositionEmbedding(4, 16, 10.0, True)
    frequencies = rotation.rope_frequencies_bias.reshape(2, 4, 8)
    size = frequencies.norm(dim=0)  # heads d/2
    torch.testing.assert_close(size, rotation.axial_frequencies(16, size).repeat(2).expand(4, 8))
    assert frequencies[0, :, 0].unique().numel() == 4


def error_of_performer(features, scale, draws=3):
    q, k, v = drawn(2, 2, 6, 6, 8) * scale, drawn(2, 2, 6, 6, 8) * scale, drawn(2, 2, 6, 6, 8)
    want = SoftmaxAttention()(q, k, v)
    errors = [PerformerAttention(8, features)(q, k, v) - want for _ in range(draws)]
    return torch.stack(errors).square().mean().sqrt().item()


def test_performers_error_falls_with_the_number_of_features():
    errors = [error_of_performer(m, 0.5) for m in (8, 64, 512)]
    assert all(b < 0.7 * a for a, b in itertools.pairwise(errors)), errors
    assert errors[-1] < 0.03


def test_performers_error_grows_with_q_and_k_until_all_keys_weigh_the_same():
    assert error_of_performer(64, 0.25) < error_of_performer(64, 0.5) < error_of_performer(64, 2.0)
    q, k, v = drawn(1, 1, 5, 5, 8), drawn(1, 1, 5, 5, 8), drawn(1, 1, 5, 5, 8)
    mean = v.mean((2, 3), keepdim=True).expand_as(v)
    torch.testing.assert_close(PerformerAttention(8, 64)(10 * q, 10 * k, v), mean)
    assert (PerformerAttention(8, 64)(q, k, v) - mean).abs().max() > 0.1


@pytest.mark.parametrize(
    "kernel",
    [PerformerAttention(4, 1), LinearAttention("elu"), LinearAttention("softmax"), SoftmaxAttention()],
    ids=str,
)
def test_keys_that_are_not_there_change_nothing(kernel):
    for _ in range(10):  # the largest exponent of one feature and two keys is often below 0, that of a zero key
        q, k, v = drawn(1, 1, 2, 3, 4), drawn(1, 1, 1, 2, 4), drawn(1, 1, 1, 2, 4)
        more = [torch.nn.functional.pad(t, (0, 0, 0, 2)) for t in (k, v)]
        real = torch.tensor([[[True, True, False, False]]])
        torch.testing.assert_close(kernel(q, *more, real), kernel(q, k, v))


def test_performers_features_are_orthogonal_and_as_long_as_normal_ones():
    rows = PerformerAttention(8, 800).projection_matrix
    for block in rows.split(8)[:5]:
        products = block @ block.t()
        assert (products - products.diag().diag()).abs().max() < 0.02
    assert abs(rows.square().sum(1).mean() - 8) < 0.5
    assert rows.square().sum(1).std() > 2


# Errors


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"heads": 5}, r"heads=5 .*channels=64.*\[1, 2, 4, 8"),
        ({"heads": 32, "position": "rope"}, r"heads=32 .* channels=64.*\[1, 2, 4, 8, 16\]"),
        ({"heads": 64, "position": "rope_mixed"}, r"heads=64 .*position='rope_mixed' .*4"),
        ({"channels": 6, "heads": 1, "position": "rope"}, r"heads=1 .* channels=6"),
        ({"position": "rope", "theta": 0}, r"theta=0 "),
        ({"window": "dynamic", "extent": "multiscale"}, r"window='dynamic' .*'multiscale'"),
        ({"windows": [2, 3, 4], "extent": "multiscale", "heads": 2}, r"windows=\[2, 3, 4\] .* heads=2"),
        ({"shift": 8}, r"shift=8 .*window=8"),
        ({"shift": 0}, r"shift=0 .*window=8"),
        ({"shift": 2, "window": "dynamic", "extent": "shifted"}, r"shift=2 .*window='dynamic'"),
        ({"extent": "shifted", "window": 1}, r"extent='shifted' .*window=1"),
        ({"extent": "window", "position_size": 9}, r"position_size=9 .*position='absolute'"),
        ({"linformer_grid": [4, 5, 6]}, r"linformer_grid=\[4, 5, 6\] "),
    ],
    ids=str,
)  # fmt: skip
def test_says_what_is_wrong_and_what_works(options, message):
    with pytest.raises(ValueError, match=rf"^MultiHeadGlobalAttention: {message}"):
        MultiHeadGlobalAttention(**{"channels": 64, **options})
