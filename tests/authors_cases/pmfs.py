"""PMFS."""

from yolo_attn.blocks import GlobalPMFSBlock_AP, GlobalPMFSBlock_AP_Separate

from .case import AuthorsCase, renamed

TABLE = {
    r"ch_convs\.(\d+)\.": r"branches.\1.",
    r"ch_W([qkv])\.": r"channel_\1.",
    r"ch_score_conv\.": "channel_score.",  # a 1x1 convolution of a vector there, a linear layer here
    r"ch_layer_norm\.": "channel_norm.",
    r"sp_W([qkv])\.": r"spatial_\1.",
    r"sp_output_conv\.": "spatial_out.",
    r"output_conv\.": "out.",
}
SEPARABLE = {"conv.0.": "norm.", "conv.3.": "depthwise.", "conv.4.": "pointwise."}


NAMES = ("in_channels", "max_pool_kernels", "ch", "ch_k", "ch_v", "br", "dim")


def substituted(table):
    def ours(tensors):
        for old, new in table.items():
            tensors = {k.replace(old, new): v for k, v in tensors.items()}
        return renamed(TABLE)(tensors)

    return ours


def authors_case(block, table):
    return AuthorsCase(
        make=lambda meta: block(*(meta[n] for n in NAMES)),
        ours=substituted(table),
        run=lambda module, inputs: module(inputs),
    )


BLOCKS = {
    "GlobalPMFSBlock_AP_Separate": authors_case(GlobalPMFSBlock_AP_Separate, SEPARABLE),
    "GlobalPMFSBlock_AP": authors_case(GlobalPMFSBlock_AP, {"conv.0.": "conv.", "conv.1.": "norm."}),
}
