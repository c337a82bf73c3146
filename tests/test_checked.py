"""What the registry says a layer was checked against is what the tests compare it with."""

import json
from pathlib import Path

import numpy as np
import pytest
from authors_cases import BLOCKS as CASES
from loop_oracles import (
    attention_augmented,
    attention_fpn,
    ema,
    global_attention,
    global_context,
    gsop,
    harmonious,
    improved_local,
    pmfs,
)

import yolo_attn.blocks
from yolo_attn.registry import BLOCKS

OURS = {n: s for n, s in BLOCKS.items() if s.cls.__module__.startswith("yolo_attn.blocks.")}
LOOPS = {
    "EMA": (ema.ema,),
    "GSoP": (gsop.gsop,),
    "PMFS": (pmfs.pmfs,),
    "PMFSChannel": (pmfs.pmfs_channel,),
    "PMFSSpatial": (pmfs.pmfs_spatial,),
    "SpatialAttn": (harmonious.spatial,),
    "ChannelAttn": (harmonious.channel,),
    "SoftAttn": (harmonious.soft,),
    "HardAttn": (harmonious.hard,),
    "HarmAttn": (harmonious.soft, harmonious.hard),
    "MultiHeadGlobalAttention": (global_attention.attention,),
    "ImprovedLocalAttention": (improved_local.improved_local,),
    "GlobalLocalAttention": (global_attention.attention, improved_local.improved_local),
    "GlobalContext": (global_context.global_context,),
    "AttentionAugmentedConv": (attention_augmented.attention_augmented,),
    "AttentionFPN": (attention_fpn.pyramid,),
}


def test_authors_outputs():
    built = set()
    for file in sorted((Path(__file__).parent / "authors_outputs").glob("*.npz")):
        with np.load(file) as case:
            meta = json.loads(str(case["meta"]))
            shapes = [list(case[n].shape) for n in sorted(case.files) if n.startswith("input/")]
        module = CASES[meta["block"]].make({**meta, "shapes": shapes})
        built |= {n for n, s in OURS.items() if isinstance(module, s.cls)}
        built |= {n for n, s in OURS.items() for m in module.children() if isinstance(m, s.cls)}
    assert {n for n, s in OURS.items() if "authors" in s.checked} == built


def test_loop():
    assert {n for n, s in OURS.items() if "loop" in s.checked} == set(LOOPS)
    assert set(OURS) - set(LOOPS) == {"PyramidLevel"}


@pytest.mark.parametrize("name", LOOPS)
def test_a_test_calls_the_loop(name):
    text = "".join(f.read_text() for f in Path(__file__).parent.glob("test_*.py") if f.name != "test_checked.py")
    assert f"{OURS[name].cls.__name__}(" in text
    for loop in LOOPS[name]:
        assert f"{loop.__name__}(" in text


def test_every_public_class_is_exported():
    assert {s.cls.__name__ for s in OURS.values()} <= set(yolo_attn.blocks.__all__)
