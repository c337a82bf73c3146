"""GlobalContext by loops over the paper's formulas, in float64 numpy."""

import numpy as np

from .common import convolve, layer_norm, relu, sigmoid, softmax


def global_context(x, w, pooling="att", fusion=("channel_add",)):
    """``w`` holds the arrays ``conv_mask.weight``, ``channel_add_conv.0.weight`` and so on."""
    y = x.copy()
    for b, sample in enumerate(x):
        places = list(np.ndindex(*x.shape[2:]))
        shares = [1 / len(places)] * len(places)
        if pooling == "att":
            shares = softmax(convolve(sample, w, "conv_mask").flatten())
        context = sum(share * sample[:, i, j] for share, (i, j) in zip(shares, places, strict=True))
        if "channel_mul" in fusion:
            y[b] *= sigmoid(transformed(context, w, "channel_mul_conv"))
        if "channel_add" in fusion:
            y[b] += transformed(context, w, "channel_add_conv")
    return y


def transformed(context, w, name):
    hidden = convolve(context[:, None, None], w, f"{name}.0")[:, 0, 0]
    return convolve(relu(layer_norm(hidden, w, f"{name}.1"))[:, None, None], w, f"{name}.3")
