"""What the loops share: convolution, norms, activations, interpolation, in float64 numpy."""

import numpy as np


def sigmoid(a):
    return 1.0 / (1.0 + np.exp(-a))


def softmax(a):
    e = np.exp(a - a.max())
    return e / e.sum()


def relu(a):
    return np.maximum(a, 0.0)


def means(x):
    """Mean of each channel of ``(C, H, W)``."""
    C, H, W = x.shape
    return np.array([sum(x[c, i, j] for i in range(H) for j in range(W)) / (H * W) for c in range(C)])


def convolve(x, w, name, stride=1):
    """A convolution padded to keep the size (before the stride); ``x`` is ``(C, H, W)``.

    The kernel has any odd sides; of C channels it takes those of its group.
    """
    kernel, bias = w[f"{name}.weight"], w.get(f"{name}.bias", np.zeros(len(w[f"{name}.weight"])))
    (C, H, W), (outputs, inputs, height, width) = x.shape, kernel.shape
    y = np.zeros((outputs, -(-H // stride), -(-W // stride)))
    for o, i, j in np.ndindex(y.shape):
        first = o // (outputs * inputs // C) * inputs  # channel of the group
        y[o, i, j] = bias[o]
        for di, dj in np.ndindex(height, width):
            a, b = i * stride + di - height // 2, j * stride + dj - width // 2
            if 0 <= a < H and 0 <= b < W:
                y[o, i, j] += kernel[o, :, di, dj] @ x[first : first + inputs, a, b]
    return y


def normalize(a, weight, bias, mean=None, variance=None, eps=1e-5):
    """Normalize by mean and variance, given or those of ``a``."""
    mean = a.mean() if mean is None else mean
    variance = ((a - mean) ** 2).mean() if variance is None else variance
    return (a - mean) / np.sqrt(variance + eps) * weight + bias


def layer_norm(a, w, name):
    return normalize(a, w[f"{name}.weight"], w[f"{name}.bias"])


def batch_norm(x, w, name):
    """Normalize channel (first axis) by channel with the running statistics."""
    names = ("weight", "bias", "running_mean", "running_var")
    return np.array([normalize(c, *p) for c, *p in zip(x, *(w[f"{name}.{n}"] for n in names), strict=True)])


def between(table, y, x):
    """Interpolate ``(C, h, w)`` bilinearly at row ``y`` and column ``x``."""
    y0, x0 = min(int(y), table.shape[1] - 1), min(int(x), table.shape[2] - 1)
    y1, x1 = min(y0 + 1, table.shape[1] - 1), min(x0 + 1, table.shape[2] - 1)
    a, b = y - y0, x - x0
    top = table[:, y0, x0] * (1 - b) + table[:, y0, x1] * b
    return top * (1 - a) + (table[:, y1, x0] * (1 - b) + table[:, y1, x1] * b) * a


def covered(k, size, wanted):
    """The indices among ``size`` that cell k of ``wanted`` touches."""
    return range(k * size // wanted, -(-(k + 1) * size // wanted))


def averaged(x, height, width, which=covered):
    """Resize ``(C, H, W)``: cell k of an axis is the mean over ``which(k, size, wanted)``."""
    y = np.empty((len(x), height, width))
    for i, j in np.ndindex(height, width):
        cells = [x[:, a, b] for a in which(i, x.shape[1], height) for b in which(j, x.shape[2], width)]
        y[:, i, j] = sum(cells) / len(cells)
    return y
