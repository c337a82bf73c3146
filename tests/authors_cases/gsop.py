"""GSoP."""

from yolo_attn.blocks import GSoP

from .case import AuthorsCase, renamed


def make(meta):
    mode = meta.get("mode", "channel")
    theirs = {} if mode == "channel" else {"position_covariance": "authors", "unpool": "authors"}
    return GSoP(meta["channels"], meta["reduced_channels"], meta["reduction_stride"], mode, **theirs)


BLOCKS = {
    "GSoP": AuthorsCase(
        make=make,
        tolerance=1e-6,  # the authors build their centring matrix in float32
        ours=renamed(
            {
                r"b\.conv_for_DR\.": "reduce.",
                r"b\.bn_for_DR\.": "reduce_bn.",
                r"b\.row_bn\.": "row_bn.",
                r"b\.row_conv_group\.": "rows.",
                r"b\.fc_adapt_channels\.": "expand.",
                r"b\.conv_for_DR_spatial\.": "position_reduce.",
                r"b\.bn_for_DR_spatial\.": "position_reduce_bn.",
                r"b\.row_bn_for_spatial\.": "position_row_bn.",
                r"b\.row_conv_group_for_spatial\.": "position_rows.",
                r"b\.fc_adapt_channels_for_spatial\.": "position_expand.",
                r"b\.dilate_conv_for_concat1\.": "join_channel.",
                r"b\.dilate_conv_for_concat2\.": "join_position.",
                r"b\.bn_for_concat\.": "join_bn.",
            }
        ),
    ),
}
