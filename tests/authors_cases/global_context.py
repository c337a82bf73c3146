"""GlobalContext."""

from yolo_attn.blocks import GlobalContext

from .case import AuthorsCase, renamed


def make(meta):
    return GlobalContext(
        meta["channels"],
        meta["ratio"],
        meta.get("pooling", meta.get("pooling_type", "att")),
        meta.get("fusion", meta.get("fusion_types", "channel_add")),
    )


BLOCKS = {
    "GlobalContext": AuthorsCase(
        make=make,
        ours=renamed({r"conv_mask\.": "conv_mask.", r"channel_(add|mul)_conv\.([013])\.": r"channel_\1_conv.\2."}),
    ),
}
