"""Soft and hard attention of HA-CNN. The authors' module names are ours."""

import torch
from torch import nn

from yolo_attn.blocks import ChannelAttn, HardAttn, HarmAttn, SoftAttn, SpatialAttn
from yolo_attn.blocks.nn.regions import cut_regions

from .case import AuthorsCase, renamed


def reduction(meta):
    return meta.get("reduction_rate", 16)


class Crop(nn.Module):
    """One region of (1, 1 / n) of the map, read into as many cells as the map has."""

    def __init__(self, regions):
        super().__init__()
        self.regions = regions

    def forward(self, x, t):
        scale = torch.tensor([1.0, 1 / self.regions], dtype=x.dtype).expand(len(x), 1, 2)
        return cut_regions(x, t.reshape(-1, 1, 2), scale, x.shape[2:]).squeeze(2)


def gated(module, inputs):
    """What the authors' network does with the two outputs."""
    gate, translations = module(*inputs)
    return inputs[0] * gate, translations


ours = renamed({r"(ha\.)?(?=(spatial_attn|channel_attn|soft_attn|hard_attn|conv\d?|fc)\.)": ""})

BLOCKS = {
    "SpatialAttn": AuthorsCase(make=lambda meta: SpatialAttn(), ours=ours),
    "ChannelAttn": AuthorsCase(make=lambda meta: ChannelAttn(meta["channels"], reduction(meta)), ours=ours),
    "SoftAttn": AuthorsCase(
        make=lambda meta: SoftAttn(meta["channels"], reduction(meta), relu_before_sigmoid=True),
        ours=ours,
    ),
    "HardAttn": AuthorsCase(make=lambda meta: HardAttn(meta["channels"], meta.get("regions", 4)), ours=ours),
    "HarmAttn": AuthorsCase(
        make=lambda meta: HarmAttn(meta["channels"], reduction(meta), meta.get("regions", 4), relu_before_sigmoid=True),
        ours=ours,
        run=gated,
    ),
    "stn crop": AuthorsCase(
        make=lambda meta: Crop(meta.get("regions", 4)),
        ours=renamed({}),
        run=lambda module, inputs, t: module(*inputs, t),
    ),
}
