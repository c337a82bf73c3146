"""Soft and hard attention of HA-CNN by loops over the paper's formulas, in float64 numpy.

``w`` holds the arrays by our parameter names, under ``prefix``.
"""

import math

import numpy as np

from .ema import sigmoid
from .gsop import batch_norm


def relu(a):
    return np.maximum(a, 0.0)


def means(x):
    """Mean of each channel of ``(C, H, W)``."""
    C, H, W = x.shape
    return np.array([sum(x[c, i, j] for i in range(H) for j in range(W)) / (H * W) for c in range(C)])


def convolution(x, weight, bias, stride=1):
    """``x`` is ``(C, H, W)``, zeros around it."""
    _, H, W = x.shape
    r = weight.shape[2] // 2
    y = np.empty((len(weight), math.ceil(H / stride), math.ceil(W / stride)))
    for o in range(len(weight)):
        for i in range(y.shape[1]):
            for j in range(y.shape[2]):
                y[o, i, j] = bias[o]
                for di in range(-r, r + 1):
                    for dj in range(-r, r + 1):
                        k, m = i * stride + di, j * stride + dj
                        if 0 <= k < H and 0 <= m < W:
                            y[o, i, j] += weight[o, :, di + r, dj + r] @ x[:, k, m]
    return y


def conv_norm(x, w, name, stride=1):
    return batch_norm(convolution(x, w[f"{name}.conv.weight"], w[f"{name}.conv.bias"], stride), w, f"{name}.bn")


def resize(x, size):
    """Resize bilinearly with aligned corners."""

    def between(i, given, wanted):
        at = i * (given - 1) / (wanted - 1) if wanted > 1 else 0.0
        low = min(int(at), given - 1)
        return low, min(low + 1, given - 1), at - low

    H, W = size
    y = np.empty((len(x), H, W))
    for i in range(H):
        for j in range(W):
            top, bottom, down = between(i, x.shape[1], H)
            left, right, across = between(j, x.shape[2], W)
            above = x[:, top, left] * (1 - across) + x[:, top, right] * across
            below = x[:, bottom, left] * (1 - across) + x[:, bottom, right] * across
            y[:, i, j] = above * (1 - down) + below * down
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
    product = np.array(
        [[[s[0, i, j] * k[c, 0, 0] for j in range(x.shape[2])] for i in range(x.shape[1])] for c in range(len(x))]
    )
    a = conv_norm(product, w, f"{prefix}conv")
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
    for i in range(H):
        for j in range(W):
            y += x[:, i, j] * max(0.0, 1 - abs(row - i)) * max(0.0, 1 - abs(column - j))
    return y


def middle(k, cells):
    return (2 * k + 1) / cells - 1


def cut(x, t, s, h, w):
    y = np.empty((len(x), h, w))
    for i in range(h):
        for j in range(w):
            y[:, i, j] = value(x, s[0] * middle(j, w) + t[0], s[1] * middle(i, h) + t[1])
    return y


def written_back(region, t, s, size):
    H, W = size
    y = np.empty((len(region), H, W))
    for i in range(H):
        for j in range(W):
            y[:, i, j] = value(region, (middle(j, W) - t[0]) / s[0], (middle(i, H) - t[1]) / s[1])
    return y


def local(crop, w, prefix):
    """The bottleneck on one crop."""
    none = np.zeros(len(w[f"{prefix}reduce.weight"]))
    z = relu(batch_norm(convolution(crop, w[f"{prefix}reduce.weight"], none), w, f"{prefix}reduce_bn"))
    z = relu(batch_norm(convolution(z, w[f"{prefix}conv.weight"], none), w, f"{prefix}conv_bn"))
    return convolution(z, w[f"{prefix}expand.weight"], np.zeros(len(crop)))


def hard(x, n, w, prefix=""):
    """The sum of the regions of one sample, ``(C, H, W)``: crop, process, paste."""
    C, H, W = x.shape
    y = np.zeros((C, H, W))
    for t, s in placement(x, n, w, prefix):
        crop = cut(x, t, s, math.ceil(H / n), W)
        y += written_back(local(crop, w, f"{prefix}local."), t, s, (H, W))
    return y
