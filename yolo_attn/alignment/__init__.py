"""Which layer of a trained model is which layer of another one, and what of it was taken over.

===================  ==================================================================================
``align``            the alignment of two lists of layers
``report``           what was transferred, as one line
===================  ==================================================================================

Knows neither torch nor Ultralytics: layers come as descriptors. ``integration.pretrained`` makes them and loads.
"""
