"""The feature pyramid by loops over the paper's formulas, in float64 numpy."""

import numpy as np

from .common import convolve


def nearest(x, size):
    """Resize ``x``, ``(C, H, W)``, to ``size``: each position takes the value of its cell."""
    rows, columns = (np.arange(n) * given // n for n, given in zip(size, x.shape[1:], strict=True))
    return x[:, rows][:, :, columns]


def pyramid(x, w, attentions):
    """The maps of one image, ``(C, H, W)`` each; ``w`` holds ``laterals.0.weight``; ``attentions`` are functions."""
    by_size = sorted(range(len(x)), key=lambda i: (x[i][0].size, -i))  # of equal ones, the later is smaller
    above, y = None, [None] * len(x)
    for i in by_size:
        merged = convolve(x[i], w, f"laterals.{i}")
        if above is not None:
            merged = merged + nearest(above, merged.shape[1:])
        above = merged
        y[i] = convolve(attentions[i](convolve(merged, w, f"smooth.{i}")), w, f"outs.{i}")
    return y
