"""Our blocks against figures computed with the authors' modules (see ``tests/golden``).

``GOLDEN_DIR`` names another folder of cases in the same form.
"""

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from yolo_attn.blocks import EMA, GlobalPMFSBlock_AP_Separate, GSoP

FOLDER = Path(os.environ.get("GOLDEN_DIR") or Path(__file__).parent / "golden")
CASES = sorted(FOLDER.glob("*.npz"))


def make_ema(meta):
    return EMA(meta["channels"], factor=meta["factor"])


def make_gsop(meta):
    if meta.get("mode", "channel") != "channel":
        pytest.fail(f"GSoP: the library lacks mode={meta['mode']!r}")
    return GSoP(meta["channels"], meta["reduced_channels"], meta["reduction_stride"])


def make_pmfs(meta):
    names = ("in_channels", "max_pool_kernels", "ch", "ch_k", "ch_v", "br", "dim")
    return GlobalPMFSBlock_AP_Separate(*(meta[n] for n in names))


# Per block: constructor, tolerance, and the table from the authors' parameter names to ours (patterns, first match).
BLOCKS = {
    "EMA": (make_ema, 1e-9, {r"(gn|conv1x1|conv3x3)\.": r"\1."}),
    "GSoP": (
        make_gsop,
        1e-6,  # the authors build their centring matrix in float32
        {
            r"b\.conv_for_DR\.": "reduce.",
            r"b\.bn_for_DR\.": "reduce_bn.",
            r"b\.row_bn\.": "row_bn.",
            r"b\.row_conv_group\.": "rows.",
            r"b\.fc_adapt_channels\.": "expand.",
        },
    ),
    "GlobalPMFSBlock_AP_Separate": (
        make_pmfs,
        1e-9,
        {
            r"ch_convs\.(\d+)\.": r"branches.\1.",
            r"ch_W([qkv])\.": r"channel_\1.",
            r"ch_score_conv\.": "channel_score.",  # a 1x1 convolution of a vector there, a linear layer here
            r"ch_layer_norm\.": "channel_norm.",
            r"sp_W([qkv])\.": r"spatial_\1.",
            r"sp_output_conv\.": "spatial_out.",
            r"output_conv\.": "out.",
        },
    ),
}
SEPARABLE = {"conv.0.": "norm.", "conv.3.": "depthwise.", "conv.4.": "pointwise."}


def our_name(theirs, table):
    for pattern, ours in table.items():
        if re.match(pattern, theirs):
            name = re.sub(f"^{pattern}", ours, theirs)
            for old, new in SEPARABLE.items():
                name = name.replace(old, new)
            return name
    return pytest.fail(f"no name of ours for the authors' parameter {theirs!r}")


def entries(case, prefix):
    return {k.removeprefix(prefix): torch.from_numpy(case[k]) for k in case.files if k.startswith(prefix)}


def load(module, params, table):
    """Load the authors' parameters, every one of theirs into every one of ours."""
    ours = module.state_dict()
    given = {our_name(k, table): v for k, v in params.items() if not k.endswith("num_batches_tracked")}
    assert len(given) == len({k for k in params if not k.endswith("num_batches_tracked")})
    for name, value in given.items():
        assert name in ours, f"{name}: not a parameter of ours"
        assert value.numel() == ours[name].numel(), f"{name}: {tuple(value.shape)} into {tuple(ours[name].shape)}"
    counters = {k: v for k, v in ours.items() if k.endswith("num_batches_tracked")}
    module.load_state_dict({k: v.reshape(ours[k].shape) for k, v in given.items()} | counters, strict=True)


def test_there_are_cases():
    assert CASES, f"no .npz case in {FOLDER}"


@pytest.mark.parametrize("mode", ["eval", "train"])
@pytest.mark.parametrize("path", CASES, ids=lambda p: p.stem)
def test_golden(path, mode):
    with np.load(path) as case:
        meta = json.loads(str(case["meta"]))
        if meta["block"] not in BLOCKS:
            pytest.fail(f"the library lacks block {meta['block']!r}")
        make, tolerance, table = BLOCKS[meta["block"]]
        module = make(meta).double()
        load(module, entries(case, "param/"), table)
        module.train(mode == "train")
        inputs = [v.requires_grad_() for _, v in sorted(entries(case, "input/").items(), key=lambda i: int(i[0]))]
        outputs = module(inputs) if isinstance(module, GlobalPMFSBlock_AP_Separate) else module(*inputs)
        outputs = outputs if isinstance(outputs, (list, tuple)) else [outputs]
        cotangents = entries(case, "cotangent/")
        got = {f"out/{i}": y for i, y in enumerate(outputs)}
        sum((y * cotangents[str(i)]).sum() for i, y in enumerate(outputs)).backward()
        got |= {f"grad_input/{i}": x.grad for i, x in enumerate(inputs)}
        ours = dict(module.named_parameters())
        want = entries(case, f"{mode}/")
        for name in want:
            if name.startswith("grad_param/"):
                got[name] = ours[our_name(name.removeprefix("grad_param/"), table)].grad
    assert {n for n in want if n.startswith("out/")} == {f"out/{i}" for i in range(len(outputs))}
    for name, value in want.items():
        assert got[name] is not None, f"{name}: no gradient"
        assert value.isfinite().all()
        torch.testing.assert_close(
            got[name].detach().reshape(value.shape),
            value,
            rtol=tolerance,
            atol=tolerance,
            msg=lambda text, name=name: f"{mode}/{name}: {text}",
        )
    for kind, total in (("grad_input/", len(inputs)), ("grad_param/", len(ours))):
        given = sum(n.startswith(kind) for n in want)
        assert given in (0, total), f"{given} of {total} {kind}"  # all of them, or (the largest cases) none
