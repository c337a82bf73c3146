"""EMA attention by loops over the paper's formulas, in float64 numpy."""

import numpy as np

from .common import convolve, normalize, sigmoid, softmax


def ema(x, factor, w):
    """``w`` holds the arrays ``gn.weight``, ``gn.bias``, ``conv1x1.weight`` and so on."""
    width = x.shape[1] // factor
    y = np.empty_like(x)
    for b in range(x.shape[0]):
        for k in range(factor):
            part = slice(k * width, (k + 1) * width)
            y[b, part] = group(x[b, part], w)
    return y


def group(g, w):
    width, H, W = g.shape
    f1 = w["conv1x1.weight"][:, :, 0, 0]
    rows = np.array([[sum(g[c, i, j] for j in range(W)) / W for i in range(H)] for c in range(width)])
    columns = np.array([[sum(g[c, i, j] for i in range(H)) / H for j in range(W)] for c in range(width)])
    gate_rows = np.array([sigmoid(f1 @ rows[:, i] + w["conv1x1.bias"]) for i in range(H)])
    gate_columns = np.array([sigmoid(f1 @ columns[:, j] + w["conv1x1.bias"]) for j in range(W)])
    y1, y3 = np.empty_like(g), convolve(g, w, "conv3x3")
    for c in range(width):
        gated = np.array([[g[c, i, j] * gate_rows[i, c] * gate_columns[j, c] for j in range(W)] for i in range(H)])
        y1[c] = normalize(gated, w["gn.weight"][c], w["gn.bias"][c])
    a1 = softmax(np.array([y1[c].mean() for c in range(width)]))
    a3 = softmax(np.array([y3[c].mean() for c in range(width)]))
    y = np.empty_like(g)
    for i, j in np.ndindex(H, W):
        y[:, i, j] = g[:, i, j] * sigmoid(a1 @ y3[:, i, j] + a3 @ y1[:, i, j])
    return y
