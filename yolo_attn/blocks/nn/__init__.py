"""Modules inside the blocks, and the functions around them. Checkpoints name the modules: file and class names stay."""
