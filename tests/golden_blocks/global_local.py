"""global_local."""

BLOCKS: dict = {}
