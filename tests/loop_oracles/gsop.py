"""GSoP by loops over the paper's formulas, and the authors' where they differ, in float64 numpy."""

import math

import numpy as np

from .ema import sigmoid

ACTIVATIONS = {
    "none": lambda v: v,
    "relu": lambda v: np.maximum(v, 0.0),
    "leaky_relu": lambda v: np.where(v < 0, 0.1 * v, v),
}


def covariance(z):
    """The covariance of the rows of ``z``, ``(D, N)``."""
    D, N = z.shape
    mean = [sum(z[d]) / N for d in range(D)]
    return np.array(
        [[sum((z[i, n] - mean[i]) * (z[j, n] - mean[j]) for n in range(N)) / N for j in range(D)] for i in range(D)]
    )


def authors_covariance(z):
    """The authors' covariance: sums over N, divided by D each; ``z`` is ``(D, N)``."""
    D, N = z.shape
    centring = [[(-1 / D / D) + (1 / D if m == n else 0.0) for n in range(N)] for m in range(N)]
    return np.array(
        [
            [sum(z[i, m] * centring[m][n] * z[j, n] for m in range(N) for n in range(N)) for j in range(D)]
            for i in range(D)
        ]
    )


def batch_norm(z, w, name, eps=1e-5):
    """Normalise channel (first axis) by channel with the running statistics."""
    out = np.empty_like(z)
    for d in range(z.shape[0]):
        scale = w[f"{name}.weight"][d] / np.sqrt(w[f"{name}.running_var"][d] + eps)
        out[d] = (z[d] - w[f"{name}.running_mean"][d]) * scale + w[f"{name}.bias"][d]
    return out


def reduced(x, w, name):
    """``BN(W relu(x))``, position by position."""
    kept = np.maximum(x, 0.0)
    weight = w[f"{name}.weight"][:, :, 0, 0]
    z = np.empty((weight.shape[0], *x.shape[1:]))
    for i, j in np.ndindex(x.shape[1:]):
        z[:, i, j] = weight @ kept[:, i, j] + w[f"{name}.bias"]
    return batch_norm(z, w, f"{name}_bn")


def gate_of(s, w, prefix, activation):
    """From a covariance matrix to its gate."""
    s = batch_norm(s, w, f"{prefix}row_bn")
    rows = np.empty(4 * len(s))
    for o in range(len(rows)):  # four numbers from each row
        rows[o] = w[f"{prefix}rows.weight"][o, 0, :, 0] @ s[o // 4] + w[f"{prefix}rows.bias"][o]
    last = w[f"{prefix}expand.weight"][:, :, 0, 0]
    return sigmoid(last @ ACTIVATIONS[activation](rows) + w[f"{prefix}expand.bias"])


def channel_gate(x, w, stride=1, activation="none"):
    z = np.maximum(reduced(x[:, ::stride, ::stride], w, "reduce"), 0.0)
    return gate_of(covariance(z.reshape(len(z), -1)), w, "", activation)


def covered(k, size, wanted):
    """The indices among ``size`` that cell k of ``wanted`` touches."""
    return range(k * size // wanted, math.ceil((k + 1) * size / wanted))


def nearest(k, size, wanted):
    """The index among ``size`` that cell k of ``wanted`` lies in; if there are several, those that begin in k."""
    return range(k * size // wanted, (k + 1) * size // wanted) if size > wanted else [k * size // wanted]


def averaged(x, height, width, which):
    y = np.empty((len(x), height, width))
    for i in range(height):
        for j in range(width):
            cells = [x[:, a, b] for a in which(i, x.shape[1], height) for b in which(j, x.shape[2], width)]
            y[:, i, j] = sum(cells) / len(cells)
    return y


def position_gate(x, w, grid, activation="relu", exact=True, unpool=nearest):
    cells = averaged(reduced(x, w, "position_reduce"), grid, grid, covered)
    cells = cells.reshape(len(cells), -1).T  # a row for each cell
    gate = gate_of((covariance if exact else authors_covariance)(cells), w, "position_", activation)
    return averaged(gate.reshape(1, grid, grid), *x.shape[1:], unpool)[0]


def column_convolution(x, w, name):
    """A convolution along the height, padded with zeros to keep it."""
    weight, bias = w[f"{name}.weight"][:, :, :, 0], w[f"{name}.bias"]
    C, H, W = x.shape
    inputs, height = weight.shape[1:]
    y = np.empty_like(x)
    for c in range(C):
        first = c // inputs * inputs  # the group's channels
        for i in range(H):
            for j in range(W):
                y[c, i, j] = bias[c]
                for k in range(height):
                    if 0 <= i + k - height // 2 < H:
                        y[c, i, j] += weight[c, :, k] @ x[first : first + inputs, i + k - height // 2, j]
    return y


def gsop(x, w, mode="channel", stride=1, channel=None, position=None):
    """``channel`` and ``position`` are more arguments of the gates."""
    y = np.empty_like(x)
    for b in range(x.shape[0]):
        by_channel = by_position = None
        if mode != "position":
            by_channel = x[b] * channel_gate(x[b], w, stride, **channel or {})[:, None, None]
        if mode != "channel":
            by_position = np.maximum(x[b] * position_gate(x[b], w, **position or {}), 0.0)
        if mode == "concat":
            joined = column_convolution(by_channel, w, "join_channel")
            y[b] = batch_norm(joined + column_convolution(by_position, w, "join_position"), w, "join_bn")
        elif mode == "sum":
            y[b] = by_channel + by_position
        elif mode == "max":
            y[b] = np.maximum(by_channel, by_position)
        else:
            y[b] = by_channel if mode == "channel" else by_position
    return y
