"""PMFS in two dimensions by loops over the paper's formulas, in float64 numpy."""

import math

import numpy as np

from .common import batch_norm, convolve, layer_norm, means, relu, sigmoid, softmax


def resize(x, size):
    """Max over the window of each position where ``x`` is larger, the nearest value where it is smaller."""
    H, W = size
    y = np.empty((x.shape[0], H, W))
    for i, j in np.ndindex(H, W):
        y[:, i, j] = x[:, window(i, x.shape[1], H), window(j, x.shape[2], W)].max((1, 2))
    return y


def window(i, given, wanted):
    first = i * given // wanted
    return slice(first, max(first + 1, math.ceil((i + 1) * given / wanted)) if given > wanted else first + 1)


def separable(x, w, name):
    """Batch norm, ReLU, depthwise and pointwise convolution."""
    x = relu(batch_norm(x, w, f"{name}.norm"))
    return convolve(convolve(x, w, f"{name}.depthwise"), w, f"{name}.pointwise")


def plain(x, w, name):
    """Convolution, batch norm, ReLU."""
    return relu(batch_norm(convolve(x, w, f"{name}.conv"), w, f"{name}.norm"))


CONVOLUTIONS = {"separable": separable, "conv": plain}


def pmfs(maps, br, w, form="separable", fusion="concat", statistics="softmax"):
    """``maps`` is a list of ``(B, C, H, W)``."""
    f = CONVOLUTIONS[form]
    y = []
    for b in range(maps[0].shape[0]):
        x = joined([m[b] for m in maps], w, f, fusion)
        y.append(f(positions(channels(x, w, f, statistics), br, w, f), w, "out"))
    return np.stack(y)


def pmfs_channel(x, w, form="separable", statistics="softmax"):
    return np.stack([channels(sample, w, CONVOLUTIONS[form], statistics) for sample in x])


def pmfs_spatial(x, br, w, form="separable"):
    return np.stack([positions(sample, br, w, CONVOLUTIONS[form]) for sample in x])


def joined(maps, w, f, fusion):
    features = [f(resize(m, maps[-1].shape[1:]), w, f"branches.{i}") for i, m in enumerate(maps)]
    if fusion == "concat":
        return np.concatenate(features)
    share = softmax(w["fusion_logit_scale"])
    return sum(share[i] * features[i] for i in range(len(features)))


def channels(x, w, f, statistics):
    H, W = x.shape[1:]
    q, v = f(x, w, "channel_q"), f(x, w, "channel_v")
    if statistics == "softmax":
        share = softmax(f(x, w, "channel_k")[0].reshape(-1)).reshape(H, W)
        score = w["channel_score.weight"] @ (means(q * share) * H * W)
    else:
        variance = means((q - means(q)[:, None, None]) ** 2)
        score = w["channel_score.weight"] @ means(q) + w["channel_variance.weight"] @ variance
    score = sigmoid(layer_norm(score + w["channel_score.bias"], w, "channel_norm"))
    return np.array([v[c] * score[c] for c in range(len(v))])


def positions(x, br, w, f):
    q, k, v = (f(x, w, f"spatial_{name}") for name in "qkv")
    n_k, n_v = len(q) // br, len(v) // br
    share = softmax(np.array([np.mean([k[b * n_k + c] for b in range(br)]) for c in range(n_k)]))
    u = np.empty_like(v)
    for b in range(br):
        score = sigmoid(sum(share[c] * q[b * n_k + c] for c in range(n_k)))
        for c in range(n_v):
            u[b * n_v + c] = v[b * n_v + c] * score
    return f(u, w, "spatial_out")
