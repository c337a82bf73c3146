"""EMA attention."""

from yolo_attn.blocks import EMA

from .golden import Golden, renamed

BLOCKS = {
    "EMA": Golden(
        make=lambda meta: EMA(meta["channels"], factor=meta["factor"]),
        ours=renamed({r"(gn|conv1x1|conv3x3)\.": r"\1."}),
    ),
}
