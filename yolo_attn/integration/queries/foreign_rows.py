"""Rows as other projects write them: other names for our layer types, and arguments without names.

The conventions are those of public model YAMLs that put attention into YOLO.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...registry import BlockSpec

# Names in other projects, in lower case and without underscores -> our layer type
_NAMES = {
    "emaattention": "EMA",
    "emattention": "EMA",
    "emaattn": "EMA",
    "emamodule": "EMA",
    "emablock": "EMA",
    "efficientmultiscaleattention": "EMA",
    "gcblock": "GlobalContext",
    "gcmodule": "GlobalContext",
    "gcattention": "GlobalContext",
    "contextblock": "GlobalContext",
    "globalcontextblock": "GlobalContext",
    "globalcontextattention": "GlobalContext",
    "gsopblock": "GSoP",
    "gsopattention": "GSoP",
    "gsopmodule": "GSoP",
    "softattention": "SoftAttn",
    "hardattention": "HardAttn",
    "harmattention": "HarmAttn",
    "harmoniousattention": "HarmAttn",
    "aaconv": "AttentionAugmentedConv",
    "augmentedconv": "AttentionAugmentedConv",
    "attentionaugmentedconv2d": "AttentionAugmentedConv",
    "pmfsblock": "PMFS",
    "pmfschannelblock": "PMFSChannel",
    "pmfsspatialblock": "PMFSSpatial",
    "globallocalattn": "GlobalLocalAttention",
    "glattention": "GlobalLocalAttention",
}
# Layer type -> the option that other projects give as a bare number
_OPTION = {
    "EMA": "factor",
    "GlobalContext": "ratio",
    "GSoP": "reduced_channels",
    "ChannelAttn": "reduction",
    "SoftAttn": "reduction",
    "HarmAttn": "reduction",
    "GlobalLocalAttention": "heads",
    "MultiHeadGlobalAttention": "heads",
    "ImprovedLocalAttention": "reduction",
}
_LEAST_CHANNELS = 64  # a lone number from here on is a channel count: no model YAML of Ultralytics has a smaller one


@dataclass(frozen=True, slots=True)
class Reading:
    """What a row's arguments mean.

    Attributes:
        arguments: The arguments as we write them: empty, or one mapping of options.
        meanings: A phrase for each number, such as ``8 is the factor``.
    """

    arguments: list[Any]
    meanings: tuple[str, ...]


def our_name(name: str) -> str:
    """Return our layer type that other projects call ``name``; empty if there is none."""
    return _NAMES.get(name.replace("_", "").casefold(), "")


def read(spec: BlockSpec, args: Sequence[Any]) -> Reading | None:
    """Return what a row's arguments without names mean; None if they have names or their meaning is unknown.

    Layer types whose rows do begin with a number are read as they are: the number of output channels, and the options
    that a row may give by position.

    Args:
        spec: The layer type, one of this package's.
        args: The row's arguments.
    """
    named: dict[str, Any] = {}
    if args and isinstance(args[-1], Mapping):
        *args, named = args
    if not args or spec.output == "argument" or spec.positional:
        return None
    option = _OPTION.get(spec.name, "")
    options: dict[str, Any] = {}
    meanings: list[str] = []
    for value in args:
        if type(value) not in (int, float) or value <= 0:
            return None
        channels_before = bool(meanings) and value != args[0]
        most = math.inf if option == "reduced_channels" and channels_before else _LEAST_CHANNELS
        if option and value < most and option not in {**options, **named}:
            options[option] = 1 / value if option == "ratio" and value >= 1 else value
            meanings.append(f"{value} is the {option}")
        elif type(value) is int and value >= _LEAST_CHANNELS:
            meanings.append(f"{value} is the number of channels, which comes from the layer that the row reads")
        else:
            return None
    options |= named
    return Reading([options] if options else [], tuple(meanings))
