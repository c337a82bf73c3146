"""harmonious."""

BLOCKS: dict = {}
