"""The command line ``yolo-attn``; ``train_detect.py`` calls the same code."""

from .main import main

__all__ = ["main"]
