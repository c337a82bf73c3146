"""Parts of blocks that checkpoints name: file and class names here are a public contract, as the blocks' are."""
