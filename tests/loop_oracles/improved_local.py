"""ImprovedLocalAttention by loops over its formulas, in float64 numpy."""

import numpy as np

from .common import batch_norm, convolve, means, normalize, relu, sigmoid


def improved_local(x, w, fuse="sum", training=False):
    """``w`` holds the arrays ``convolutions.0.weight``, ``norms.0.bias``, ``squeeze.weight`` and so on."""
    branches = []
    for n in range(3):
        maps = np.array([convolve(s, w, f"convolutions.{n}") for s in x])
        if training:
            scales = zip(w[f"norms.{n}.weight"], w[f"norms.{n}.bias"], strict=True)
            branches.append(np.stack([normalize(maps[:, c], *scale) for c, scale in enumerate(scales)], 1))
        else:
            branches.append(np.array([batch_norm(m, w, f"norms.{n}") for m in maps]))
    y = np.empty_like(x)
    for b in range(x.shape[0]):
        parts = [m[b] for m in branches]
        local = sum(parts) if fuse == "sum" else convolve(np.concatenate(parts), w, "join")
        gate = convolve(relu(convolve(means(local).reshape(-1, 1, 1), w, "squeeze")), w, "excite")
        y[b] = local * sigmoid(gate)
    return y
