"""Decide which layer of one model is which layer of another, and describe what was transferred.

``layer_alignment``  align two lists of layers
``transfer_summary`` one line about the tensors that were transferred

This package knows neither torch nor Ultralytics. ``integration`` describes the layers and loads the weights.
"""
