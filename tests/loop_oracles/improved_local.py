"""ImprovedLocalAttention by loops over its formulas, in float64 numpy."""

import numpy as np

from .ema import sigmoid


def convolve(x, kernel, bias=None, stride=1, depthwise=False):
    """A convolution with padding that keeps the size (before the stride); ``x`` is ``(C, H, W)``."""
    _, H, W = x.shape
    K = kernel.shape[2]
    r = K // 2
    y = np.zeros((kernel.shape[0], -(-H // stride), -(-W // stride)))
    for o in range(y.shape[0]):
        for i in range(y.shape[1]):
            for j in range(y.shape[2]):
                for di in range(K):
                    for dj in range(K):
                        a, b = i * stride + di - r, j * stride + dj - r
                        if 0 <= a < H and 0 <= b < W:
                            values = x[o : o + 1, a, b] if depthwise else x[:, a, b]
                            y[o, i, j] += kernel[o, :, di, dj] @ values
        if bias is not None:
            y[o] += bias[o]
    return y


def improved_local(x, w, fuse="sum", depthwise=False, training=False, eps=1e-5):
    """``w`` holds the arrays ``convolutions.0.weight``, ``norms.0.bias``, ``squeeze.weight`` and so on."""
    branches = []
    for n in range(3):
        single = depthwise and n > 0
        maps = np.array([convolve(s, w[f"convolutions.{n}.weight"], depthwise=single) for s in x])
        for c in range(x.shape[1]):
            one = maps[:, c]
            mean = one.mean() if training else w[f"norms.{n}.running_mean"][c]
            variance = ((one - mean) ** 2).mean() if training else w[f"norms.{n}.running_var"][c]
            normal = (one - mean) / np.sqrt(variance + eps)
            maps[:, c] = normal * w[f"norms.{n}.weight"][c] + w[f"norms.{n}.bias"][c]
        branches.append(maps)
    y = np.empty_like(x)
    for b in range(x.shape[0]):
        if fuse == "sum":
            local = branches[0][b] + branches[1][b] + branches[2][b]
        else:
            local = convolve(np.concatenate([m[b] for m in branches]), w["join.weight"], w["join.bias"])
        pooled = np.array([local[c].sum() / local[c].size for c in range(len(local))])
        hidden = np.maximum(w["squeeze.weight"][:, :, 0, 0] @ pooled + w["squeeze.bias"], 0.0)
        gate = sigmoid(w["excite.weight"][:, :, 0, 0] @ hidden + w["excite.bias"])
        for c in range(len(local)):
            y[b, c] = local[c] * gate[c]
    return y
