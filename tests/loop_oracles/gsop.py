"""GSoP by loops over the paper's formulas, and the authors' where they differ, in float64 numpy."""

import numpy as np

from .common import averaged, batch_norm, convolve, relu, sigmoid

ACTIVATIONS = {
    "none": lambda v: v,
    "relu": relu,
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


def gate_of(s, w, prefix, activation):
    """From a covariance matrix to its gate."""
    s = batch_norm(s, w, f"{prefix}row_bn")
    rows = np.empty(4 * len(s))
    for o in range(len(rows)):  # four numbers from each row
        rows[o] = w[f"{prefix}rows.weight"][o, 0, :, 0] @ s[o // 4] + w[f"{prefix}rows.bias"][o]
    last = w[f"{prefix}expand.weight"][:, :, 0, 0]
    return sigmoid(last @ ACTIVATIONS[activation](rows) + w[f"{prefix}expand.bias"])


def channel_gate(x, w, stride=1, activation="none"):
    z = relu(batch_norm(convolve(relu(x), w, "reduce", stride), w, "reduce_bn"))
    return gate_of(covariance(z.reshape(len(z), -1)), w, "", activation)


def nearest(k, size, wanted):
    """The index among ``size`` that cell k of ``wanted`` lies in; if there are several, those that begin in k."""
    return range(k * size // wanted, (k + 1) * size // wanted) if size > wanted else [k * size // wanted]


def position_gate(x, w, grid, activation="relu", exact=True, unpool=nearest):
    cells = averaged(batch_norm(convolve(relu(x), w, "position_reduce"), w, "position_reduce_bn"), grid, grid)
    cells = cells.reshape(len(cells), -1).T  # a row for each cell
    gate = gate_of((covariance if exact else authors_covariance)(cells), w, "position_", activation)
    return averaged(gate.reshape(1, grid, grid), *x.shape[1:], unpool)[0]


def gsop(x, w, mode="channel", stride=1, channel=None, position=None):
    """``channel`` and ``position`` are more arguments of the gates."""
    y = np.empty_like(x)
    for b in range(x.shape[0]):
        by_channel = by_position = None
        if mode != "position":
            by_channel = x[b] * channel_gate(x[b], w, stride, **channel or {})[:, None, None]
        if mode != "channel":
            by_position = relu(x[b] * position_gate(x[b], w, **position or {}))
        if mode == "concat":
            joined = convolve(by_channel, w, "join_channel") + convolve(by_position, w, "join_position")
            y[b] = batch_norm(joined, w, "join_bn")
        elif mode == "sum":
            y[b] = by_channel + by_position
        elif mode == "max":
            y[b] = np.maximum(by_channel, by_position)
        else:
            y[b] = by_channel if mode == "channel" else by_position
    return y
