"""Soft and hard attention of HA-CNN by loops over the paper's formulas, in float64 numpy.

``w`` holds the arrays by our parameter names, under ``prefix``.
"""

import math

import numpy as np

from .common import batch_norm, between, convolve, means, relu, sigmoid


def conv_norm(x, w, name, stride=1):
    return batch_norm(convolve(x, w, f"{name}.conv", stride), w, f"{name}.bn")


def resize(x, size):
    """Resize bilinearly with aligned corners."""
    steps = [(given - 1) / max(wanted - 1, 1) for given, wanted in zip(x.shape[1:], size, strict=True)]
    y = np.empty((len(x), *size))
    for i, j in np.ndindex(*size):
        y[:, i, j] = between(x, i * steps[0], j * steps[1])
    return y


def spatial(x, w, prefix=""):
    """S of one sample, ``(1, H, W)``, before the ReLU."""
    C, H, W = x.shape
    average = np.array([[[sum(x[c, i, j] for c in range(C)) / C for j in range(W)] for i in range(H)]])
    s = relu(conv_norm(average, w, f"{prefix}conv1", 2))
    return conv_norm(resize(s, (H, W)), w, f"{prefix}conv2")


def channel(x, w, prefix=""):
    """K of one sample, ``(C, 1, 1)``, before the ReLU."""
    k = relu(conv_norm(means(x).reshape(-1, 1, 1), w, f"{prefix}conv1"))
    return conv_norm(k, w, f"{prefix}conv2")


def soft(x, w, prefix="", rectify=False):
    """The gate map of one sample, ``(C, H, W)``."""
    s, k = relu(spatial(x, w, f"{prefix}spatial_attn.")), relu(channel(x, w, f"{prefix}channel_attn."))
    a = conv_norm(s * k, w, f"{prefix}conv")
    return sigmoid(relu(a) if rectify else a)


def placement(x, n, w, prefix=""):
    """For each region (t_x, t_y) and (s_x, s_y)."""
    t = np.tanh(w[f"{prefix}fc.weight"] @ means(x) + w[f"{prefix}fc.bias"])
    s = np.array([1.0, 1.0 / n] * n)
    if f"{prefix}fc_scale.weight" in w:
        s = s * 2.0 ** np.tanh(w[f"{prefix}fc_scale.weight"] @ means(x) + w[f"{prefix}fc_scale.bias"])
    return [(t[2 * i : 2 * i + 2], s[2 * i : 2 * i + 2]) for i in range(n)]


def value(x, at_x, at_y):
    """``x`` at coordinates from -1 to 1, bilinear; zero outside."""
    C, H, W = x.shape
    column, row = ((at_x + 1) * W - 1) / 2, ((at_y + 1) * H - 1) / 2
    y = np.zeros(C)
    for i, j in np.ndindex(H, W):
        y += x[:, i, j] * max(0.0, 1 - abs(row - i)) * max(0.0, 1 - abs(column - j))
    return y


def middle(k, cells):
    return (2 * k + 1) / cells - 1


def cut(x, t, s, h, w):
    y = np.empty((len(x), h, w))
    for i, j in np.ndindex(h, w):
        y[:, i, j] = value(x, s[0] * middle(j, w) + t[0], s[1] * middle(i, h) + t[1])
    return y


def written_back(region, t, s, size):
    H, W = size
    y = np.empty((len(region), H, W))
    for i, j in np.ndindex(H, W):
        y[:, i, j] = value(region, (middle(j, W) - t[0]) / s[0], (middle(i, H) - t[1]) / s[1])
    return y


def local(crop, w, prefix):
    """The bottleneck on one crop."""
    z = relu(batch_norm(convolve(crop, w, f"{prefix}reduce"), w, f"{prefix}reduce_bn"))
    z = relu(batch_norm(convolve(z, w, f"{prefix}conv"), w, f"{prefix}conv_bn"))
    return convolve(z, w, f"{prefix}expand")


def hard(x, n, w, prefix=""):
    """The sum of the regions of one sample, ``(C, H, W)``: crop, process, paste."""
    C, H, W = x.shape
    y = np.zeros((C, H, W))
    for t, s in placement(x, n, w, prefix):
        crop = cut(x, t, s, math.ceil(H / n), W)
        y += written_back(local(crop, w, f"{prefix}local."), t, s, (H, W))
    return y
