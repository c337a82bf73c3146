"""AttentionAugmentedConv by loops over the paper's formulas, in float64 numpy."""

import numpy as np

from .common import convolve, softmax


def offset_vector(table, offset, length):
    """The vector for an offset between two of ``length`` positions; ``table`` is ``(D, 2 * S - 1)``."""
    middle = (table.shape[1] - 1) // 2  # S - 1
    if length - 1 <= middle:
        return table[:, middle + offset]
    place = middle + offset * middle / (length - 1)  # stretched: the largest offset is the table's end
    low = min(int(np.floor(place)), table.shape[1] - 2) if table.shape[1] > 1 else 0
    if table.shape[1] == 1:
        return table[:, 0]
    return table[:, low] + (place - low) * (table[:, low + 1] - table[:, low])


def attention_augmented(x, w, heads, dk, dv, stride=1, relative=True):
    """``w`` holds the arrays ``convolution.weight``, ``qkv.weight``, ``relative_rows`` and so on."""
    outputs = []
    for sample in x:
        maps = convolve(sample, w, "qkv", stride)
        _, H, W = maps.shape
        places = [(i, j) for i in range(H) for j in range(W)]
        q, k, v = maps[:dk], maps[dk : 2 * dk], maps[2 * dk :]
        d, e = dk // heads, dv // heads
        attended = np.zeros((dv, H, W))
        for h in range(heads):
            a, b = slice(h * d, (h + 1) * d), slice(h * e, (h + 1) * e)
            for i, j in places:
                scores = []
                for m, n in places:
                    key = k[a, m, n].copy()
                    if relative:
                        key += offset_vector(w["relative_columns"].reshape(d, -1), n - j, W)
                        key += offset_vector(w["relative_rows"].reshape(d, -1), m - i, H)
                    scores.append(q[a, i, j] @ key / np.sqrt(d))
                for share, (m, n) in zip(softmax(np.array(scores)), places, strict=True):
                    attended[b, i, j] += share * v[b, m, n]
        mixed = convolve(attended, w, "project")
        if "convolution.weight" in w:
            mixed = np.concatenate([convolve(sample, w, "convolution", stride), mixed])
        outputs.append(mixed)
    return np.array(outputs)
