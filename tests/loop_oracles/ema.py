"""EMA attention by loops over the paper's formulas, in float64 numpy."""

import numpy as np


def sigmoid(a):
    return 1.0 / (1.0 + np.exp(-a))


def softmax(a):
    e = np.exp(a - a.max())
    return e / e.sum()


def ema(x, factor, w, eps=1e-5):
    """``w`` holds the arrays ``gn.weight``, ``gn.bias``, ``conv1x1.weight`` and so on."""
    width = x.shape[1] // factor
    y = np.empty_like(x)
    for b in range(x.shape[0]):
        for k in range(factor):
            part = slice(k * width, (k + 1) * width)
            y[b, part] = group(x[b, part], w, eps)
    return y


def group(g, w, eps):
    width, H, W = g.shape
    f1 = w["conv1x1.weight"][:, :, 0, 0]
    rows = np.array([[sum(g[c, i, j] for j in range(W)) / W for i in range(H)] for c in range(width)])
    columns = np.array([[sum(g[c, i, j] for i in range(H)) / H for j in range(W)] for c in range(width)])
    gate_rows = np.array([sigmoid(f1 @ rows[:, i] + w["conv1x1.bias"]) for i in range(H)])
    gate_columns = np.array([sigmoid(f1 @ columns[:, j] + w["conv1x1.bias"]) for j in range(W)])
    y1, y3 = np.empty_like(g), np.empty_like(g)
    for c in range(width):
        gated = np.array([[g[c, i, j] * gate_rows[i, c] * gate_columns[j, c] for j in range(W)] for i in range(H)])
        normal = (gated - gated.mean()) / np.sqrt(((gated - gated.mean()) ** 2).mean() + eps)
        y1[c] = normal * w["gn.weight"][c] + w["gn.bias"][c]
        for i in range(H):
            for j in range(W):
                y3[c, i, j] = w["conv3x3.bias"][c]
                for di in (-1, 0, 1):
                    for dj in (-1, 0, 1):
                        if 0 <= i + di < H and 0 <= j + dj < W:
                            y3[c, i, j] += w["conv3x3.weight"][c, :, di + 1, dj + 1] @ g[:, i + di, j + dj]
    a1 = softmax(np.array([y1[c].mean() for c in range(width)]))
    a3 = softmax(np.array([y3[c].mean() for c in range(width)]))
    y = np.empty_like(g)
    for i in range(H):
        for j in range(W):
            y[:, i, j] = g[:, i, j] * sigmoid(a1 @ y3[:, i, j] + a3 @ y1[:, i, j])
    return y
