"""How to build each of our blocks for a stored case of the authors' module. One file per family of blocks."""

from . import ema, global_context, global_local, gsop, harmonious, pmfs

BLOCKS = {
    **ema.BLOCKS,
    **gsop.BLOCKS,
    **pmfs.BLOCKS,
    **harmonious.BLOCKS,
    **global_local.BLOCKS,
    **global_context.BLOCKS,
}
