"""The feature pyramid by loops over the paper's formulas, in float64 numpy."""

import numpy as np

from .improved_local import convolve


def nearest(x, size):
    """Resize ``x``, ``(C, H, W)``, to ``size``: each position takes the value of its cell."""
    y = np.empty((x.shape[0], *size))
    for i in range(size[0]):
        for j in range(size[1]):
            y[:, i, j] = x[:, i * x.shape[1] // size[0], j * x.shape[2] // size[1]]
    return y


def pyramid(x, w, attentions):
    """The maps of one image, ``(C, H, W)`` each; ``w`` holds ``laterals.0.weight``; ``attentions`` are functions."""
    by_size = sorted(
        range(len(x)), key=lambda i: (x[i].shape[1] * x[i].shape[2], -i)
    )  # of equal ones, the later is smaller
    above, y = None, [None] * len(x)
    for i in by_size:
        merged = convolve(x[i], w[f"laterals.{i}.weight"], w[f"laterals.{i}.bias"])
        if above is not None:
            merged = merged + nearest(above, merged.shape[1:])
        above = merged
        smooth = convolve(merged, w[f"smooth.{i}.weight"], w[f"smooth.{i}.bias"])
        y[i] = convolve(attentions[i](smooth), w[f"outs.{i}.weight"], w[f"outs.{i}.bias"])
    return y
