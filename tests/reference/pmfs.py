"""PMFS in two dimensions by loops over the paper's formulas, in float64 numpy."""

import math

import numpy as np

from .ema import sigmoid, softmax
from .gsop import batch_norm


def resize(x, size):
    """Max over the window that a position stands for where ``x`` is larger, the nearest value where it is smaller."""
    H, W = size
    y = np.empty((x.shape[0], H, W))
    for i in range(H):
        for j in range(W):
            y[:, i, j] = x[(slice(None), window(i, x.shape[1], H), window(j, x.shape[2], W))].max((1, 2))
    return y


def window(i, given, wanted):
    first = i * given // wanted
    return slice(first, max(first + 1, math.ceil((i + 1) * given / wanted)) if given > wanted else first + 1)


def separable(x, w, name):
    """Batch norm, ReLU, depthwise and pointwise convolution."""
    x = np.maximum(batch_norm(x, w, f"{name}.norm"), 0.0)
    depthwise, pointwise = w[f"{name}.depthwise.weight"], w[f"{name}.pointwise.weight"]
    C, H, W = x.shape
    r = depthwise.shape[2] // 2
    y = np.empty((pointwise.shape[0], H, W))
    for i in range(H):
        for j in range(W):
            middle = np.zeros(C)
            for di in range(-r, r + 1):
                for dj in range(-r, r + 1):
                    if 0 <= i + di < H and 0 <= j + dj < W:
                        middle += depthwise[:, 0, di + r, dj + r] * x[:, i + di, j + dj]
            y[:, i, j] = pointwise[:, :, 0, 0] @ middle + w[f"{name}.pointwise.bias"]
    return y


def layer_norm(a, w, name, eps=1e-5):
    return (a - a.mean()) / np.sqrt(((a - a.mean()) ** 2).mean() + eps) * w[f"{name}.weight"] + w[f"{name}.bias"]


def pmfs(maps, br, w):
    """``maps`` is a list of ``(B, C, H, W)``."""
    return np.stack([one_sample([m[b] for m in maps], br, w) for b in range(maps[0].shape[0])])


def one_sample(maps, br, w):
    H, W = maps[-1].shape[1:]
    x = np.concatenate([separable(resize(m, (H, W)), w, f"branches.{i}") for i, m in enumerate(maps)])
    # over channels
    q, k, v = (separable(x, w, f"channel_{name}") for name in "qkv")
    share = softmax(k[0].reshape(-1)).reshape(H, W)
    pooled = np.array([sum(q[c, i, j] * share[i, j] for i in range(H) for j in range(W)) for c in range(len(q))])
    score = w["channel_score.weight"] @ pooled + w["channel_score.bias"]
    score = sigmoid(layer_norm(score, w, "channel_norm"))
    x = np.array([v[c] * score[c] for c in range(len(v))])
    # over positions
    q, k, v = (separable(x, w, f"spatial_{name}") for name in "qkv")
    n_k, n_v = len(q) // br, len(v) // br
    share = softmax(np.array([np.mean([k[b * n_k + c] for b in range(br)]) for c in range(n_k)]))
    u = np.empty_like(v)
    for b in range(br):
        score = sigmoid(sum(share[c] * q[b * n_k + c] for c in range(n_k)))
        for c in range(n_v):
            u[b * n_v + c] = v[b * n_v + c] * score
    return separable(separable(u, w, "spatial_out"), w, "out")
