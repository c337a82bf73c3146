"""GlobalContext by loops over the paper's formulas, in float64 numpy."""

import numpy as np

from .ema import sigmoid, softmax


def global_context(x, w, pooling="att", fusion=("channel_add",), eps=1e-5):
    """``w`` holds the arrays ``conv_mask.weight``, ``channel_add_conv.0.weight`` and so on."""
    y = np.empty_like(x)
    _, C, H, W = x.shape
    for b in range(x.shape[0]):
        places = [(i, j) for i in range(H) for j in range(W)]
        if pooling == "att":
            key = w["conv_mask.weight"][0, :, 0, 0]
            a = softmax(np.array([key @ x[b, :, i, j] + w["conv_mask.bias"][0] for i, j in places]))
        else:
            a = [1 / len(places)] * len(places)
        context = np.zeros(C)
        for share, (i, j) in zip(a, places, strict=True):
            context += share * x[b, :, i, j]
        for i, j in places:
            y[b, :, i, j] = x[b, :, i, j]
            if "channel_mul" in fusion:
                y[b, :, i, j] *= sigmoid(transformed(context, w, "channel_mul_conv", eps))
            if "channel_add" in fusion:
                y[b, :, i, j] += transformed(context, w, "channel_add_conv", eps)
    return y


def transformed(context, w, name, eps):
    hidden = w[f"{name}.0.weight"][:, :, 0, 0] @ context + w[f"{name}.0.bias"]
    normal = (hidden - hidden.mean()) / np.sqrt(((hidden - hidden.mean()) ** 2).mean() + eps)
    normal = normal * w[f"{name}.1.weight"] + w[f"{name}.1.bias"]
    return w[f"{name}.3.weight"][:, :, 0, 0] @ np.maximum(normal, 0.0) + w[f"{name}.3.bias"]
