"""One file per paper; importing this package fills the registry."""

from .ema import EMA
from .gsop import GSoP, GSopBlock
from .pmfs import PMFS, GlobalPMFSBlock_AP_Separate

__all__ = ["EMA", "PMFS", "GSoP", "GSopBlock", "GlobalPMFSBlock_AP_Separate"]
