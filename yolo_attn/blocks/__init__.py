"""One file per paper; importing this package fills the registry."""

from .attention_augmented import AttentionAugmentedConv
from .attention_fpn import AttentionFPN, PyramidLevel
from .ema import EMA
from .global_attention import MultiHeadGlobalAttention
from .global_context import ContextBlock, GlobalContext
from .global_local import GlobalLocalAttention
from .gsop import GSoP, GSopBlock
from .harmonious import ChannelAttn, HardAttn, HarmAttn, SoftAttn, SpatialAttn
from .improved_local import ImprovedLocalAttention
from .pmfs import PMFS, GlobalPMFSBlock_AP, GlobalPMFSBlock_AP_Separate, PMFSChannel, PMFSSpatial

__all__ = [
    "EMA",
    "PMFS",
    "AttentionAugmentedConv",
    "AttentionFPN",
    "ChannelAttn",
    "ContextBlock",
    "GSoP",
    "GSopBlock",
    "GlobalContext",
    "GlobalLocalAttention",
    "GlobalPMFSBlock_AP",
    "GlobalPMFSBlock_AP_Separate",
    "HardAttn",
    "HarmAttn",
    "ImprovedLocalAttention",
    "MultiHeadGlobalAttention",
    "PMFSChannel",
    "PMFSSpatial",
    "PyramidLevel",
    "SoftAttn",
    "SpatialAttn",
]
