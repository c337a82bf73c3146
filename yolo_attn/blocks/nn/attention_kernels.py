"""Attention kernels: softmax, and methods whose time grows linearly with the number of keys.

Call each as ``kernel(q, k, v, valid, table)``: q ``(M, heads, H, W, d)``; k and v ``(M, heads, h, w, d)``; ``valid``
None or ``(M, h, w)``, which keys exist; ``table`` None or the relative bias, ``(heads, H + h - 1, W + w - 1)``. They
return ``(M, heads, H, W, d)``. M is samples times windows. Autocast must be off. Only softmax takes a ``table``;
Linformer, and Reformer, which is in ``reformer``, take no ``valid`` either.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...registry import ExportForm, ExportLimit
from ..functional import (
    RecomputedParts,
    at_least_float32,
    building_graph,
    graph_parts,
    is_fixed,
    part_starts,
    recomputes,
    resize_by_mean,
    traced_value,
)

SDPA_OPSET = ExportLimit(opset=14, reason="torch exports scaled_dot_product_attention from there on")
NCNN_AXES = "ncnn has tensors of four axes at most and does not split the batch axis"
WINDOWS = ("window", "shifted", "overlap", "multiscale")
LIMITS = (  # of a block with the options kernel and extent
    replace(SDPA_OPSET, options={"kernel": ("softmax", "linformer")}),
    ExportLimit(opset=11, options={"kernel": ("reformer",)}, reason="ONNX sorts from there on"),
    ExportLimit(formats=("ncnn",), reason=NCNN_AXES, works="GlobalContext can"),
    ExportLimit(
        formats=("executorch",),
        options={"extent": WINDOWS},
        reason="its runtime does not load tensors of seven axes",
        works="extent: global can",
    ),
    ExportLimit(
        formats=("litert", "executorch", "engine"),
        options={"kernel": ("reformer",)},
        reason="the format cannot sort all positions",
        works="kernel: linear can",
    ),
    ExportLimit(
        formats=("torch.export",),
        options={"extent": WINDOWS},
        dynamic=True,
        reason="torch.export cannot prove that every size divides into windows",
        works="extent: global can",
    ),
    ExportLimit(
        formats=("torch.export",),
        options={"kernel": ("reformer",)},
        dynamic=True,
        reason="torch.export fixes the number of chunks of sorted positions",
        works="kernel: linear can",
    ),
)
PARTS_FORM = ExportForm(
    form="relative positions in parts",
    reason="the graph takes any size; the number of parts is fixed at the export, and their sizes follow the map",
)
MAX_SCORES = {"cpu": 2**21, "cuda": 2**26, "graph": 2**24}  # scores and bias entries held at a time
MAX_BATCH = 2**15  # CUDA's kernels take a batch below 2^16


def fused_attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return softmax(q k^T / sqrt(d) + bias) v for q ``(M, heads, N, d)``; a bool bias says which keys exist.

    Torch's fused kernels keep no scores and add in float32. On the CPU none supports a bias that needs a gradient. The
    fallback computes in float32 here, because half precision scores may overflow.
    """
    d, dtype = traced_value(q.shape[-1]), q.dtype
    if bias is not None and bias.requires_grad and dtype.itemsize < 4 and q.device.type != "cuda":
        q, k, v = q.float(), k.float(), v.float()
    if q.device.type == "cuda" and d % 8:  # CUDA's fused kernels need multiples of 8
        q, k, v = (F.pad(t, (0, -d % 8)) for t in (q, k, v))
    if bias is not None and bias.dtype != torch.bool:
        bias = bias.to(q.dtype)
    q, k, v = q.contiguous(), k.contiguous(), v.contiguous()  # they also need channels with stride 1
    y = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=d**-0.5)
    return y[..., :d].to(dtype)


class SoftmaxAttention(nn.Module):
    """Compute scaled dot-product attention (https://arxiv.org/abs/1706.03762), with a relative bias if there is one."""

    def forward(
        self, q: Tensor, k: Tensor, v: Tensor, valid: Tensor | None = None, table: Tensor | None = None
    ) -> Tensor:
        batch = q.shape[0]
        if not building_graph() and batch > MAX_BATCH:
            starts = range(0, batch, MAX_BATCH)
            parts = [[None if t is None else t[a : a + MAX_BATCH] for t in (q, k, v, valid)] for a in starts]
            return torch.cat([self(*part, table) for part in parts])
        if table is not None:
            attend = biased_attention_in_graph if building_graph() else biased_attention
            return attend(q, k, v, valid, table)
        mask = None if valid is None else valid.flatten(1)[:, None, None]  # M 1 1 hw
        y = fused_attention(q.flatten(2, 3), k.flatten(2, 3), v.flatten(2, 3), mask)
        return y.reshape(q.shape)


def biased_attention(q: Tensor, k: Tensor, v: Tensor, valid: Tensor | None, table: Tensor) -> Tensor:
    """Attend with a relative bias, tile by tile of queries, so that not all scores and biases exist at once."""
    k, v = k.flip(2, 3), v.flip(2, 3)  # with reversed keys, window number q of the table holds the biases of query q
    valid = None if valid is None else valid.flip(1, 2)
    rows = tile_indices(q, k)
    if sum(map(len, rows)) > 1 and recomputes(q, k, v, table):
        indices = list(itertools.chain(*rows))
        return RecomputedParts.apply(lambda _, *qkvt: attend_in_tile(valid, *qkvt), indices, q, k, v, table)
    tiles = [[attend_in_tile(valid, q[i], k, v, table[j]) for i, _, _, j in row] for row in rows]
    return torch.cat([torch.cat(row, 3) for row in tiles], 2)


def tile_indices(q: Tensor, k: Tensor) -> list[list[tuple[Any, ...]]]:
    """Return the indices of q, k, v and table for each tile of queries, one list per row of tiles."""
    M, heads, H, W = q.shape[:4]
    h, w = k.shape[2:4]
    queries = max(1, MAX_SCORES["cpu" if q.device.type == "cpu" else "cuda"] // (M * heads * h * w))
    dy, dx = max(1, min(H, queries // W)), min(W, queries)
    rows = [slice(y, min(y + dy, H)) for y in range(0, H, dy)]
    columns = [slice(x, min(x + dx, W)) for x in range(0, W, dx)]
    every = slice(None)

    def indices(y: slice, x: slice) -> tuple[Any, ...]:
        offsets = slice(y.start, y.stop + h - 1), slice(x.start, x.stop + w - 1)
        return (every, every, y, x), (), (), (every, *offsets)

    return [[indices(y, x) for x in columns] for y in rows]


def attend_in_tile(valid: Tensor | None, q: Tensor, k: Tensor, v: Tensor, table: Tensor) -> Tensor:
    """Return the attention of one tile of queries; keys are reversed."""
    h, w = k.shape[2:4]
    bias = table.unfold(1, h, 1).unfold(2, w, 1)  # heads H W h w
    bias = bias.reshape(1, bias.shape[0], -1, h * w)  # 1 heads HW hw
    if valid is not None:
        bias = bias.masked_fill(~valid.flatten(1)[:, None, None], -math.inf)  # M heads HW hw
    y = fused_attention(q.flatten(2, 3), k.flatten(2, 3), v.flatten(2, 3), bias)
    return y.reshape(q.shape)


def biased_attention_in_graph(q: Tensor, k: Tensor, v: Tensor, valid: Tensor | None, table: Tensor) -> Tensor:
    """Attend with a relative bias, for maps of any size, a few rows of queries at a time."""
    M, heads, H, W = q.shape[:4]
    h, w = k.shape[2:4]
    mask = None if valid is None else valid.flatten(1)[:, None, None]  # M 1 1 hw
    table = offset_entries(table, 2, 0, W, w).reshape(table.shape[0], -1, W, w)  # heads H+h-1 W w
    k, v = k.flatten(2, 3), v.flatten(2, 3)  # M heads hw d
    starts = part_starts(H, graph_parts(H, M * heads * H * W * h * w, MAX_SCORES["graph"]))
    parts = []
    for first, end in itertools.pairwise(starts):
        bias = offset_entries(table, 1, first, end, h).reshape(table.shape[0], -1, h, W, w)  # heads rows h W w
        bias = bias.transpose(2, 3).reshape(1, table.shape[0], -1, h * w)  # 1 heads rowsW hw
        bias = bias if mask is None else bias.masked_fill(~mask, -math.inf)  # M heads rowsW hw
        rows = q if len(starts) == 2 else q[:, :, first:end]
        parts.append(fused_attention(rows.flatten(2, 3), k, v, bias))
    return (parts[0] if len(parts) == 1 else torch.cat(parts, 2)).reshape(q.shape)


def offset_entries(table: Tensor, dim: int, first: int, end: int, keys: int) -> Tensor:
    """Return the entries of ``table`` for the queries from ``first`` to ``end``, each with all keys, along ``dim``."""
    queries = torch.arange(first, end, device=table.device).unsqueeze(1)
    return table.index_select(dim, (queries - torch.arange(keys, device=table.device) + keys - 1).flatten())


def normalized_product(q: Tensor, k: Tensor, v: Tensor, valid: Tensor | None, eps: float = 0.0) -> Tensor:
    """Return q (k^T v) / (q k^T 1 + eps) for non-negative features; ``(M, heads, N, d)``."""
    if valid is not None:
        k = k * valid.flatten(1)[:, None, :, None]
    total = torch.matmul(q, k.sum(2).unsqueeze(3))  # M heads N 1
    return torch.matmul(q, torch.matmul(k.transpose(2, 3), v)) / (total + eps)


class LinearAttention(nn.Module):
    """Attend through a feature map of q and k, in float32.

    ``elu``: phi = elu + 1, ``phi(q) (phi(k)^T v) / (phi(q) phi(k)^T 1)``, Katharopoulos et al., "Transformers are
    RNNs", ICML 2020, https://arxiv.org/abs/2006.16236, eq. 5 and 7. ``softmax``: ``softmax_d(q) (softmax_N(k)^T v)``,
    Shen et al., "Efficient Attention", WACV 2021, https://arxiv.org/abs/1812.01243.
    """

    def __init__(self, feature_map: str) -> None:
        super().__init__()
        self.feature_map = feature_map

    def forward(
        self, q: Tensor, k: Tensor, v: Tensor, valid: Tensor | None = None, table: Tensor | None = None
    ) -> Tensor:
        shape, dtype = q.shape, q.dtype
        q, k, v = (at_least_float32(t).flatten(2, 3) for t in (q, k, v))  # M heads N d
        if self.feature_map == "elu":
            return normalized_product(F.elu(q) + 1, F.elu(k) + 1, v, valid, eps=1e-6).reshape(shape).to(dtype)
        if valid is not None:
            k = k.masked_fill(~valid.flatten(1)[:, None, :, None], -math.inf)
        context = torch.matmul(k.softmax(2).transpose(2, 3), v)  # M heads d d
        return torch.matmul(q.softmax(3), context).reshape(shape).to(dtype)


class PerformerAttention(nn.Module):
    """Approximate softmax attention by FAVOR+, positive orthogonal random features, in float32.

    Choromanski et al., "Rethinking Attention with Performers", ICLR 2021, https://arxiv.org/abs/2009.14794, eq. 5 and
    Sec. 2.4: ``phi(x) = exp(w . x - |x|^2 / 2 - c) / sqrt(m)`` for each row w of ``projection_matrix``, with q and k
    divided by d^(1/4) first; c is the largest exponent, of one query or of all keys. ``features`` is m; ``eps`` is
    added to each exponential, so that no key has weight 0.
    """

    projection_matrix: Tensor

    def __init__(self, head_dim: int, features: int, eps: float = 1e-4) -> None:
        super().__init__()
        self.eps = eps
        self.register_buffer("projection_matrix", orthogonal_rows(features, head_dim))

    def features_of(self, x: Tensor, valid: Tensor | None, dims: tuple[int, ...]) -> Tensor:
        """Return the features of queries or keys, ``(M, heads, N, m)``; ``dims`` are those of the largest exponent."""
        x = x * self.projection_matrix.shape[1] ** -0.25
        exponent = torch.matmul(x, self.projection_matrix.to(x.dtype).t())
        if valid is not None:
            exponent = exponent.masked_fill(~valid.flatten(1)[:, None, :, None], -math.inf)
        largest = exponent.detach().amax(dims, keepdim=True)
        features = (exponent - x.square().sum(3, keepdim=True) / 2 - largest).exp() + self.eps
        return features * self.projection_matrix.shape[0] ** -0.5

    def forward(
        self, q: Tensor, k: Tensor, v: Tensor, valid: Tensor | None = None, table: Tensor | None = None
    ) -> Tensor:
        shape, dtype = q.shape, q.dtype
        q, k, v = (at_least_float32(t).flatten(2, 3) for t in (q, k, v))  # M heads N d
        y = normalized_product(self.features_of(q, None, (3,)), self.features_of(k, valid, (2, 3)), v, valid)
        return y.reshape(shape).to(dtype)


def orthogonal_rows(rows: int, columns: int) -> Tensor:
    """Return random rows, orthogonal in blocks of ``columns``, as long as rows of normal numbers.

    They are rounded to half precision, in which Ultralytics saves models, so a saved layer keeps its features.
    """
    blocks = [torch.linalg.qr(torch.randn(columns, columns))[0].t() for _ in range(-(-rows // columns))]
    lengths = torch.randn(rows, columns).norm(dim=1, keepdim=True)
    return (torch.cat(blocks)[:rows] * lengths).half().float()


class LinformerAttention(nn.Module):
    """Attend to a fixed number of learned mixtures of the keys, in float32.

    Wang et al., "Linformer: Self-Attention with Linear Complexity", 2020, https://arxiv.org/abs/2006.04768, eq. 7:
    ``softmax(q (E k)^T / sqrt(d)) F v``, E = ``proj_k``, F = ``proj_v``, both transposed, shared by all heads. Maps are
    averaged to ``grid``, height and width, first; ``size`` is k of the paper, the number of mixtures.
    """

    def __init__(self, grid: tuple[int, int], size: int) -> None:
        super().__init__()
        self.grid = grid
        self.proj_k = nn.Parameter(torch.empty(grid[0] * grid[1], size))
        self.proj_v = nn.Parameter(torch.empty(grid[0] * grid[1], size))
        for projection in (self.proj_k, self.proj_v):
            nn.init.uniform_(projection, -(size**-0.5), size**-0.5)

    def mix(self, t: Tensor, projection: Tensor) -> Tensor:
        """Mix keys or values, ``(B, heads, h, w, d)``, to ``(B, heads, k, d)``."""
        heads, d = t.shape[1], t.shape[4]
        t = t.permute(0, 1, 4, 2, 3).flatten(1, 2)  # B C h w
        if not is_fixed(*t.shape[2:]) or tuple(t.shape[2:]) != self.grid:
            t = resize_by_mean(t, *self.grid, overlap=True)
        t = torch.matmul(t.flatten(2), projection.to(t.dtype))  # B C k
        return t.reshape(-1, heads, d, t.shape[2]).transpose(2, 3)

    def forward(
        self, q: Tensor, k: Tensor, v: Tensor, valid: Tensor | None = None, table: Tensor | None = None
    ) -> Tensor:
        shape, dtype = q.shape, q.dtype
        q, k, v = (at_least_float32(t) for t in (q, k, v))
        y = fused_attention(q.flatten(2, 3), self.mix(k, self.proj_k), self.mix(v, self.proj_v))
        return y.reshape(shape).to(dtype)
