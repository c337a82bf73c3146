"""EMA attention."""

from yolo_attn.blocks import EMA

from .case import AuthorsCase, renamed

BLOCKS = {
    "EMA": AuthorsCase(
        make=lambda meta: EMA(meta["channels"], factor=meta["factor"]),
        ours=renamed({r"(gn|conv1x1|conv3x3)\.": r"\1."}),
    ),
}
