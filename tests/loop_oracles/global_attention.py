"""Multi-head attention in all its forms by loops over the formulas, in float64 numpy: one query at a time."""

import math

import numpy as np

from .common import averaged, between, convolve, softmax


def attention(x, w, heads, theta=None, position_size=20, **options):
    """``x`` is ``(B, C, H, W)``; ``w`` holds ``qkv.weight`` and so on; ``options`` are those of :func:`one_head`."""
    return np.stack([one_sample(s, w, heads, theta, position_size, options) for s in x])


def one_sample(x, w, heads, theta, position_size, options):
    C, H, W = x.shape
    d = C // heads
    if "absolute.absolute_position_bias" in w:
        side = math.isqrt(len(w["absolute.absolute_position_bias"]) // C)
        x = x + resized(w["absolute.absolute_position_bias"].reshape(C, side, side), H, W)
    t = convolve(x, w, "qkv").transpose(1, 2, 0)  # H W 3C
    y = np.empty((H, W, C))
    for h in range(heads):
        part = slice(h * d, (h + 1) * d)
        q, v = t[:, :, part], t[:, :, t.shape[2] - C :][:, :, part]
        k = t[:, :, C : 2 * C][:, :, part] if t.shape[2] == 3 * C else q
        if theta is not None or "rotation.rope_frequencies_bias" in w:
            q, k = (rotated(a, w, h, theta) for a in (q, k))
        y[:, :, part] = one_head(q, k, v, h, w, heads=heads, position_size=position_size, **options)
    return convolve(y.transpose(2, 0, 1), w, "out")


def rotated(a, w, h, theta):
    """Rotate each pair of channels, as a complex number, by an angle proportional to the column and row."""
    H, W, d = a.shape
    out = np.empty_like(a)
    for i in range(H):
        for j in range(W):
            for p in range(d // 2):
                if theta is None:
                    across, down = w["rotation.rope_frequencies_bias"].reshape(2, -1, d // 2)[:, h, p]
                    angle = j * across + i * down
                elif p < d // 4:
                    angle = j * theta ** (-4 * p / d)
                else:
                    angle = i * theta ** (-4 * (p - d // 4) / d)
                turned = complex(a[i, j, 2 * p], a[i, j, 2 * p + 1]) * complex(math.cos(angle), math.sin(angle))
                out[i, j, 2 * p], out[i, j, 2 * p + 1] = turned.real, turned.imag
    return out


def resized(table, height, width):
    """Resize bilinearly: the value at the center of each new cell."""
    C, h, w = table.shape
    out = np.empty((C, height, width))
    for i, j in np.ndindex(height, width):
        y = min(max((i + 0.5) * h / height - 0.5, 0), h - 1)
        x = min(max((j + 0.5) * w / width - 0.5, 0), w - 1)
        out[:, i, j] = between(table, y, x)
    return out


def bias(table, dy, dx, furthest_y, furthest_x):
    """The bias of an offset; ``furthest`` is the largest offset in the map."""
    h, w = table.shape[0] // 2, table.shape[1] // 2
    y = h + dy * min(1, h / max(furthest_y, 1))
    x = w + dx * min(1, w / max(furthest_x, 1))
    return between(table[None], y, x)[0]


def seen(i, size, extent, window, shift, overlap):
    """The rows (or columns) that a query in row ``i`` sees."""
    if extent == "global" or window >= size:
        return range(size)
    start = shift + (i - shift) // window * window if extent == "shifted" else i // window * window
    return range(max(0, start - overlap), min(size, start + window + overlap))


def one_head(
    q, k, v, h, w, heads, position_size, kernel="softmax", extent="global", window=8, windows=None, shift=None,
    overlap=0, divisions=None, feature_map="elu", linformer_grid=None, bucket_size=None,
):  # fmt: skip
    """``q``, ``k`` and ``v`` are ``(H, W, d)``."""
    H, W, d = q.shape
    group, together = 0, heads
    if windows is not None:  # heads in turn, the first groups one more
        sizes = [len(part) for part in np.array_split(np.arange(heads), len(windows))]
        group = next(n for n in range(len(windows)) if h < sum(sizes[: n + 1]))
        window, h, extent, together = windows[group], h - sum(sizes[:group]), "window", sizes[group]
    if kernel == "reformer":
        return lsh(q.reshape(-1, d), v.reshape(-1, d), w["kernel.rotations"], bucket_size).reshape(H, W, d)
    if kernel == "linformer":
        e, f = ([averaged(a.transpose(2, 0, 1), *linformer_grid).reshape(d, -1) @ column for column in projection.T]
                for a, projection in ((k, w["kernel.proj_k"]), (v, w["kernel.proj_v"])))  # fmt: skip
        return np.array([[softmax(np.array([q[i, j] @ a for a in e]) / math.sqrt(d)) @ np.array(f)
                          for j in range(W)] for i in range(H)])  # fmt: skip
    table = w.get(f"biases.{group}.relative_position_bias_table")
    if table is not None:
        side = math.isqrt(len(table) // together)
        table = table.reshape(together, side, side)
    y = np.empty_like(v)
    for i in range(H):
        for j in range(W):
            side = [math.ceil(n / divisions) for n in (H, W)] if window == "dynamic" else [window, window]
            starts = [s // 2 if shift is None else shift for s in side]
            rows = seen(i, H, extent, side[0], starts[0], overlap)
            columns = seen(j, W, extent, side[1], starts[1], overlap)
            keys = [(a, b) for a in rows for b in columns]
            K, V = np.array([k[p] for p in keys]), np.array([v[p] for p in keys])
            if kernel == "softmax":
                score = K @ q[i, j] / math.sqrt(d)
                if table is not None:
                    most = [
                        (n if extent == "global" or s >= n else s + overlap) - 1
                        for n, s in zip((H, W), side, strict=True)
                    ]
                    score = score + [bias(table[h], i - a, j - b, *most) for a, b in keys]
                y[i, j] = softmax(score) @ V
            elif kernel == "performer":
                y[i, j] = favor(q[i, j], K, V, w["kernel.projection_matrix"])
            elif feature_map == "elu":
                weight = np.array([phi(q[i, j]) @ phi(key) for key in K])
                y[i, j] = sum(a * b for a, b in zip(weight, V, strict=True)) / (weight.sum() + 1e-6)
            else:
                over_keys = np.array([softmax(K[:, c]) for c in range(d)])  # d, keys
                y[i, j] = softmax(q[i, j]) @ np.array([over_keys[c] @ V for c in range(d)])
    return y


def phi(a):
    return np.where(a > 0, a + 1, np.exp(np.minimum(a, 0)))


def favor(q, keys, values, projection, eps=1e-4):
    m, d = projection.shape
    q, keys = q / d**0.25, keys / d**0.25
    exponents = np.array([[r @ key for r in projection] for key in keys])
    of_q = np.array([r @ q for r in projection])
    f = (np.exp(of_q - q @ q / 2 - of_q.max()) + eps) / math.sqrt(m)
    weights = [
        f @ (np.exp(row - key @ key / 2 - exponents.max()) + eps) / math.sqrt(m)
        for row, key in zip(exponents, keys, strict=True)
    ]
    return sum(a * v for a, v in zip(weights, values, strict=True)) / sum(weights)


def lsh(q, v, rotations, m, most_buckets=128):
    """Reformer: count for each pair the rounds in which they meet; see Sec. 2 and appendix A of the paper."""
    N, d = q.shape
    half = min(math.ceil(N / m), most_buckets // 2)
    sets = []  # of each round: the vectors that each vector sees
    for R in rotations:
        hashes = [int(np.argmax(np.concatenate([a @ R[:, :half], -(a @ R[:, :half])]))) for a in q]
        order = sorted(range(N), key=lambda i: (hashes[i], i))
        chunk = {i: place // m for place, i in enumerate(order)}
        sets.append([[j for j in range(N) if chunk[i] - 1 <= chunk[j] <= chunk[i]] for i in range(N)])
    y = np.empty_like(v)
    for i in range(N):
        logs, outs = [], []
        for round_ in sets:
            scores = []
            for j in round_[i]:
                meetings = sum(j in other[i] for other in sets)
                score = q[i] @ q[j] / max(np.linalg.norm(q[j]), 1e-12) / math.sqrt(d)
                scores.append((-1e9 if j == i else score) - math.log(meetings))
            scores = np.array(scores)
            top = scores.max()
            logs.append(top + math.log(np.exp(scores - top).sum()))
            outs.append(softmax(scores) @ v[round_[i]])
        y[i] = softmax(np.array(logs)) @ np.array(outs)
    return y
