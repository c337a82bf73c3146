"""GSoP, channel form, by loops over the paper's formulas, in float64 numpy."""

import numpy as np

from .ema import sigmoid


def covariance(z):
    """``z`` is ``(D, N)``; the mean over positions of the products of what is left of each row without its mean."""
    D, N = z.shape
    mean = [sum(z[d]) / N for d in range(D)]
    return np.array(
        [[sum((z[i, n] - mean[i]) * (z[j, n] - mean[j]) for n in range(N)) / N for j in range(D)] for i in range(D)]
    )


def batch_norm(z, w, name, eps=1e-5):
    """Normalise channel (first axis) by channel with the running statistics."""
    out = np.empty_like(z)
    for d in range(z.shape[0]):
        scale = w[f"{name}.weight"][d] / np.sqrt(w[f"{name}.running_var"][d] + eps)
        out[d] = (z[d] - w[f"{name}.running_mean"][d]) * scale + w[f"{name}.bias"][d]
    return out


def gsop(x, stride, w):
    y = np.empty_like(x)
    w1, w3 = w["reduce.weight"][:, :, 0, 0], w["expand.weight"][:, :, 0, 0]
    D = w1.shape[0]
    for b in range(x.shape[0]):
        kept = np.maximum(x[b, :, ::stride, ::stride], 0.0)
        z = np.empty((D, kept.shape[1] * kept.shape[2]))
        for n, position in enumerate(np.ndindex(kept.shape[1:])):
            z[:, n] = w1 @ kept[(slice(None), *position)] + w["reduce.bias"]
        s = batch_norm(covariance(np.maximum(batch_norm(z, w, "reduce_bn"), 0.0)), w, "row_bn")
        rows = np.empty(4 * D)
        for o in range(4 * D):  # four numbers from each row
            rows[o] = w["rows.weight"][o, 0, :, 0] @ s[o // 4] + w["rows.bias"][o]
        gate = sigmoid(w3 @ rows + w["expand.bias"])
        for c in range(x.shape[1]):
            y[b, c] = x[b, c] * gate[c]
    return y
