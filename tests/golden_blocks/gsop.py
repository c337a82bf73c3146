"""GSoP."""

import pytest

from yolo_attn.blocks import GSoP

from .golden import Golden, renamed


def make(meta):
    if meta.get("mode", "channel") != "channel":
        pytest.fail(f"GSoP: the library lacks mode={meta['mode']!r}")
    return GSoP(meta["channels"], meta["reduced_channels"], meta["reduction_stride"])


BLOCKS = {
    "GSoP": Golden(
        make=make,
        tolerance=1e-6,  # the authors build their centring matrix in float32
        ours=renamed(
            {
                r"b\.conv_for_DR\.": "reduce.",
                r"b\.bn_for_DR\.": "reduce_bn.",
                r"b\.row_bn\.": "row_bn.",
                r"b\.row_conv_group\.": "rows.",
                r"b\.fc_adapt_channels\.": "expand.",
            }
        ),
    ),
}
