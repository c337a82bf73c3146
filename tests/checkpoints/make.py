"""Make a small checkpoint for each block: ``python tests/checkpoints/make.py``.

The committed files must load for ever (``tests/test_checkpoint_contract.py``). Never replace the file of a released
block: a new option or part gets a file of its own, ``NAME-part.pt``.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import nn

import yolo_attn.blocks
from yolo_attn.registry import BLOCKS

FOLDER = Path(__file__).parent
C = 4
RESIDUAL = {"residual": True}
# The options that choose other classes or parts, for each class; each dict is one block of the file.
CASES: dict[str, list[dict]] = {
    "EMA": [{"factor": 2, **RESIDUAL}],
    "GSoP": [{"reduced_channels": 2, "mode": "concat", "grid": 2, **RESIDUAL}],
    "GSopBlock": [{"mid_channels": 2}],
    "GlobalContext": [{}, {"pooling": "avg", "fusion": ["channel_mul", "channel_add"], **RESIDUAL}],
    "ContextBlock": [{"ratio": 0.25}],
    "PMFS": [{"ch": 2, **RESIDUAL}, {"ch": 2, "form": "conv", "fusion": "weighted", "statistics": "mean_var"}],
    "PMFSChannel": [{**RESIDUAL}, {"form": "conv", "statistics": "mean_var"}],
    "PMFSSpatial": [{"br": 2, **RESIDUAL}, {"form": "conv"}],
    "GlobalPMFSBlock_AP": [{"ch_aggr": 2}],
    "GlobalPMFSBlock_AP_Separate": [{"ch_aggr": 2}],
    "SpatialAttn": [RESIDUAL],
    "ChannelAttn": [RESIDUAL],
    "SoftAttn": [RESIDUAL],
    "HardAttn": [{"scale": "learnable", **RESIDUAL}],
    "HarmAttn": [{"scale": "learnable", **RESIDUAL}],
    "ImprovedLocalAttention": [{"fuse": "concat", "depthwise": True, **RESIDUAL}],
    "MultiHeadGlobalAttention": [
        {"position_size": 3, **RESIDUAL},
        {"extent": "shifted", "window": 2},
        {"extent": "overlap", "window": "dynamic", "divisions": 2, "overlap": 1, "position_size": 2},
        {"extent": "multiscale", "windows": [2, 3], "qkv_bias": True},
        {"position": "absolute", "position_size": 3},
        {"position": "rope", "heads": 1},
        {"position": "rope_mixed", "heads": 1},
        {"kernel": "performer", "position": "none", "features": 4},
        {"kernel": "linear", "position": "none"},
        {"kernel": "linformer", "position": "none", "linformer_size": 2, "linformer_grid": 2},
        {"kernel": "reformer", "position": "none", "hashes": 1, "bucket_size": 4},
    ],
    "GlobalLocalAttention": [{"extent": "window", "window": 2, **RESIDUAL}],
    "AttentionAugmentedConv": [
        {"dk": 4, "dv": 2, "position_size": 3, **RESIDUAL},
        {"dk": 4, "dv": C, "relative": False},
    ],
    "AttentionFPN": [{"window": 2, **RESIDUAL}, {"attention": "global_context"}, {"attention": "none"}],
    "PyramidLevel": [{"level": 1}],
}
LISTS = ("PMFS", "GlobalPMFSBlock_AP", "GlobalPMFSBlock_AP_Separate", "AttentionFPN", "PyramidLevel")
HEADS = ("MultiHeadGlobalAttention", "GlobalLocalAttention", "AttentionAugmentedConv")


def maps_of(name: str) -> int:
    """Return the number of input maps."""
    return 2 if name in ("PMFS", "PyramidLevel") else 1


def build(name: str, options: dict) -> nn.Module:
    """Return a block with random weights, marked as the parser marks it."""
    cls = getattr(yolo_attn.blocks, name.partition("-")[0])
    fixed = BLOCKS[name].fixed if name in BLOCKS else {}
    more = [C] if name == "AttentionAugmentedConv" else []
    heads = {"heads": 2} if name in HEADS or options.get("window") else {}
    block = cls([C] * maps_of(name) if name in LISTS else C, *more, **{**heads, **options}, **fixed)
    for tensor in block.state_dict().values():
        if tensor.dtype.is_floating_point:
            tensor += torch.rand_like(tensor) * 0.2
    block.yolo_attn_layer = name
    return block.eval()


def share_storage(module: nn.Module) -> None:
    """Make all tensors of one dtype views of one tensor: a file has a few hundred bytes per storage."""
    tensors = [*module.parameters(), *module.buffers()]
    for dtype in {t.dtype for t in tensors}:
        of_dtype = [t for t in tensors if t.dtype == dtype]
        parts = torch.cat([t.detach().flatten() for t in of_dtype]).split([t.numel() for t in of_dtype])
        for tensor, part in zip(of_dtype, parts, strict=True):
            tensor.data = part.view(tensor.shape)


def main(names: list[str]) -> None:
    """Write the files of these blocks, or of those that have none yet."""
    for name in names or [n for n in CASES if not (FOLDER / f"{n}.pt").exists()]:
        torch.manual_seed(0)
        blocks = nn.ModuleList(build(name, options) for options in CASES[name])
        share_storage(blocks)
        maps = [torch.randn(1, C, 5, 4), torch.randn(1, C, 3, 2)][: maps_of(name)]
        x = maps if name in LISTS else maps[0]
        with torch.no_grad():
            outputs = [block(x) for block in blocks]
        torch.save({"model": blocks, "input": x, "outputs": outputs}, FOLDER / f"{name}.pt")


if __name__ == "__main__":
    main(sys.argv[1:])
