"""PMFS."""

from yolo_attn.blocks import GlobalPMFSBlock_AP_Separate

from .golden import Golden, renamed

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


def make(meta):
    names = ("in_channels", "max_pool_kernels", "ch", "ch_k", "ch_v", "br", "dim")
    return GlobalPMFSBlock_AP_Separate(*(meta[n] for n in names))


def separable(tensors):
    for old, new in SEPARABLE.items():
        tensors = {k.replace(old, new): v for k, v in tensors.items()}
    return renamed(TABLE)(tensors)


BLOCKS = {
    "GlobalPMFSBlock_AP_Separate": Golden(make=make, ours=separable, run=lambda module, inputs: module(inputs)),
}
