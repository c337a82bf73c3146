"""Pretrained weights that follow their layers."""
