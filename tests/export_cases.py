"""Every block with every option that changes its graph, for the tests of exports."""

import functools

import yolo_attn.blocks  # noqa: F401  it fills the registry
from yolo_attn.registry import BLOCKS, SHIPPED
from yolo_attn.testing import export_contract

CHANNELS = 16
ATTENTION = [
    {},
    {"position": "none"},
    {"position": "absolute"},
    {"position": "rope"},
    {"position": "rope_mixed"},
    {"extent": "window", "window": 4},
    {"extent": "shifted", "window": 4, "shift": 1},
    {"extent": "overlap", "window": 4},
    {"extent": "multiscale", "windows": [4, 8]},
    {"extent": "window", "window": "dynamic"},
    {"extent": "shifted", "window": "dynamic"},
    {"extent": "overlap", "window": "dynamic"},
    {"kernel": "performer", "position": "rope", "extent": "shifted"},
    {"kernel": "linear", "position": "absolute", "extent": "overlap"},
    {"kernel": "linear", "position": "none", "extent": "window", "feature_map": "softmax"},
    {"kernel": "linformer", "position": "none", "linformer_grid": 8},
    {"kernel": "reformer", "position": "rope"},
]
OPTIONS = {  # beside the defaults, which every block has
    "AttentionAugmentedConv": [{"dv": 16, "dk": 8}, {"relative": False}, {"stride": 2}],
    "AttentionFPN": [{"attention": "global_context"}],
    "GSoP": [{"mode": "concat", "reduced_channels": 8, "grid": 4}, {"mode": "position", "unpool": "authors"}],
    "GlobalContext": [{"pooling": "avg", "fusion": ["channel_add", "channel_mul"]}],
    "GlobalLocalAttention": [{"extent": "overlap", "residual": True}],
    "HardAttn": [{"scale": "learnable"}],
    "MultiHeadGlobalAttention": ATTENTION[1:],
    "PMFS": [{"fusion": "weighted", "statistics": "mean_var"}],
}
HEADS = {"AttentionAugmentedConv", "AttentionFPN", "GlobalLocalAttention", "MultiHeadGlobalAttention"}
OneMap = functools.partial(export_contract.OneMap, channels=CHANNELS, noise=0.3)
CASES = {}  # name -> layer type, options
for name in SHIPPED:
    for given in ({}, *OPTIONS.get(name, [])):
        label = "-".join([name, *("_".join(map(str, v)) if isinstance(v, list) else str(v) for v in given.values())])
        extra = {"factor": 4} if name == "EMA" else {"heads": 4} if name in HEADS and "attention" not in given else {}
        extra |= {"ch": 8} if name == "PMFS" else {}
        CASES[label] = (BLOCKS[name], {**extra, **given})


def refused(name, target, opset=None, dynamic=False):
    """Return what the registry says against the export of a case."""
    return export_contract.refusals(*CASES[name], target, opset, dynamic)
