"""How each of our blocks stands for the authors' module of a golden case. One file per family of blocks."""

from . import ema, global_context, global_local, gsop, harmonious, pmfs

BLOCKS = {
    **ema.BLOCKS,
    **gsop.BLOCKS,
    **pmfs.BLOCKS,
    **harmonious.BLOCKS,
    **global_local.BLOCKS,
    **global_context.BLOCKS,
}
