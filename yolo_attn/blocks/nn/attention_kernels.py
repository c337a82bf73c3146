"""Attention kernels: softmax, and methods whose time grows linearly with the number of keys.

Call each as ``kernel(q, k, v, valid, table)``: q ``(M, heads, H, W, d)``; k and v ``(M, heads, h, w, d)``; ``valid``
None or ``(M, h, w)``, which keys exist; ``table`` None or the relative bias, ``(heads, H + h - 1, W + w - 1)``. They
return ``(M, heads, H, W, d)``. M is samples times windows. Autocast must be off. Reformer's kernel is in ``reformer``.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ..functional import at_least_float32, building_graph, resize_by_mean

MAX_SCORES = {"cpu": 2**21, "cuda": 2**26, "graph": 2**24}  # scores and bias entries held at a time
MAX_BATCH = 2**15  # CUDA's kernels take a batch below 2^16


def fused_attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return softmax(q k^T / sqrt(d) + bias) v for q ``(M, heads, N, d)``; a bool bias says which keys exist.

    Torch's fused kernels keep no scores and add in float32. On the CPU none supports a bias that needs a gradient. The
    fallback computes in float32 here, because half precision scores may overflow.
    """
    d, dtype = int(q.shape[-1]), q.dtype
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
        """See the module's docstring."""
        batch = int(q.shape[0])
        if batch > MAX_BATCH:
            starts = range(0, batch, MAX_BATCH)
            parts = [[None if t is None else t[a : a + MAX_BATCH] for t in (q, k, v, valid)] for a in starts]
            return torch.cat([self(*part, table) for part in parts])
        if table is not None:
            return biased_attention(q, k, v, valid, table)
        mask = None if valid is None else valid.flatten(1)[:, None, None]  # M 1 1 hw
        y = fused_attention(q.flatten(2, 3), k.flatten(2, 3), v.flatten(2, 3), mask)
        return y.reshape(q.shape)


def biased_attention(q: Tensor, k: Tensor, v: Tensor, valid: Tensor | None, table: Tensor) -> Tensor:
    """Attend with a relative bias, tile by tile of queries, so that not all scores and biases exist at once."""
    k, v = k.flip(2, 3), v.flip(2, 3)  # with reversed keys, window number q of the table holds the biases of query q
    valid = None if valid is None else valid.flip(1, 2)
    needs_gradient = torch.is_grad_enabled() and any(t.requires_grad for t in (q, k, v, table))
    if needs_gradient and not building_graph() and sum(map(len, query_tiles(q, k))) > 1:
        y: Tensor = AttendInTiles.apply(q, k, v, valid, table)
        return y
    return attend_in_tiles(q, k, v, valid, table)


def query_tiles(q: Tensor, k: Tensor) -> list[list[tuple[slice, slice]]]:
    """Return the rows and columns of each tile of queries, one list per row of tiles."""
    M, heads, H, W = (int(n) for n in q.shape[:4])
    scores = M * heads * int(k.shape[2]) * int(k.shape[3])  # of one query
    device = "graph" if building_graph() else "cpu" if q.device.type == "cpu" else "cuda"
    queries = max(1, MAX_SCORES[device] // scores)
    dy, dx = max(1, min(H, queries // W)), min(W, queries)
    starts = [[(y, x) for x in range(0, W, dx)] for y in range(0, H, dy)]
    return [[(slice(y, min(y + dy, H)), slice(x, min(x + dx, W))) for y, x in row] for row in starts]


def slices_of_table(tile: tuple[slice, slice], k: Tensor) -> tuple[slice, slice, slice]:
    """Return the slices of the table that hold the biases of a tile."""
    rows, columns = (slice(s.start, s.stop + int(n) - 1) for s, n in zip(tile, k.shape[2:4], strict=True))
    return slice(None), rows, columns


def attend_in_tiles(q: Tensor, k: Tensor, v: Tensor, valid: Tensor | None, table: Tensor) -> Tensor:
    """Return the attention of all queries; keys are reversed."""
    rows = [
        torch.cat([attend_in_tile(q[:, :, t[0], t[1]], k, v, valid, table[slices_of_table(t, k)]) for t in row], 3)
        for row in query_tiles(q, k)
    ]
    return torch.cat(rows, 2)


class AttendInTiles(torch.autograd.Function):
    """Run :func:`attend_in_tiles`, keep only its inputs, and compute each tile again in the backward pass."""

    @staticmethod
    def forward(ctx: Any, *tensors: Tensor) -> Tensor:
        ctx.save_for_backward(*tensors)
        return attend_in_tiles(*tensors)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, valid, table = ctx.saved_tensors
        sums = [torch.zeros_like(t, dtype=at_least_float32(t[:0]).dtype) for t in (q, k, v, table)]
        with torch.enable_grad(), torch.autocast(q.device.type, enabled=False):
            for tile in itertools.chain(*query_tiles(q, k)):
                index = ((slice(None), slice(None), *tile), (), (), slices_of_table(tile, k))  # what the tile uses
                parts = [t[i].detach().requires_grad_() for t, i in zip((q, k, v, table), index, strict=True)]
                y = attend_in_tile(parts[0], parts[1], parts[2], valid, parts[3])
                for total, i, g in zip(sums, index, torch.autograd.grad(y, parts, grad[index[0]]), strict=True):
                    total[i] += g
        dq, dk, dv, dtable = (total.to(t.dtype) for total, t in zip(sums, (q, k, v, table), strict=True))
        return dq, dk, dv, None, dtable


def attend_in_tile(q: Tensor, k: Tensor, v: Tensor, valid: Tensor | None, table: Tensor) -> Tensor:
    """Return the attention of one tile of queries; keys are reversed."""
    h, w = (int(n) for n in k.shape[2:4])
    bias = table.unfold(1, h, 1).unfold(2, w, 1)  # heads H W h w
    bias = bias.reshape(1, bias.shape[0], -1, h * w)  # 1 heads HW hw
    if valid is not None:
        bias = bias.masked_fill(~valid.flatten(1)[:, None, None], -math.inf)  # M heads HW hw
    y = fused_attention(q.flatten(2, 3), k.flatten(2, 3), v.flatten(2, 3), bias)
    return y.reshape(q.shape)


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

    Args:
        feature_map: ``elu`` or ``softmax``.
    """

    def __init__(self, feature_map: str) -> None:
        super().__init__()
        self.feature_map = feature_map

    def forward(
        self, q: Tensor, k: Tensor, v: Tensor, valid: Tensor | None = None, table: Tensor | None = None
    ) -> Tensor:
        """See the module's docstring; ``table`` must be None."""
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
    divided by d^(1/4) first; c is the largest exponent, of one query or of all keys.

    Args:
        head_dim: d.
        features: m.
        eps: Added to each exponential, so that no key has weight 0.
    """

    projection_matrix: Tensor

    def __init__(self, head_dim: int, features: int, eps: float = 1e-4) -> None:
        super().__init__()
        self.eps = eps
        self.register_buffer("projection_matrix", orthogonal_rows(features, head_dim))

    def features_of(self, x: Tensor, valid: Tensor | None, dims: tuple[int, ...]) -> Tensor:
        """Return the features of queries or keys, ``(M, heads, N, m)``; ``dims`` are those of the largest exponent."""
        x = x * x.shape[3] ** -0.25
        exponent = torch.matmul(x, self.projection_matrix.to(x.dtype).t())
        if valid is not None:
            exponent = exponent.masked_fill(~valid.flatten(1)[:, None, :, None], -math.inf)
        largest = exponent.detach().amax(dims, keepdim=True)
        features = (exponent - x.square().sum(3, keepdim=True) / 2 - largest).exp() + self.eps
        return features * self.projection_matrix.shape[0] ** -0.5

    def forward(
        self, q: Tensor, k: Tensor, v: Tensor, valid: Tensor | None = None, table: Tensor | None = None
    ) -> Tensor:
        """See the module's docstring; ``table`` must be None."""
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
    ``softmax(q (E k)^T / sqrt(d)) F v``, E = ``proj_k``, F = ``proj_v``, both transposed, shared by all heads.

    Args:
        grid: Height and width to which maps are averaged first.
        size: k of the paper, the number of mixtures.
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
        if tuple(t.shape[2:]) != self.grid:
            t = resize_by_mean(t, *self.grid, overlap=True)
        t = torch.matmul(t.flatten(2), projection.to(t.dtype))  # B C k
        return t.reshape(-1, heads, d, t.shape[2]).transpose(2, 3)

    def forward(
        self, q: Tensor, k: Tensor, v: Tensor, valid: Tensor | None = None, table: Tensor | None = None
    ) -> Tensor:
        """See the module's docstring; ``valid`` and ``table`` must be None."""
        shape, dtype = q.shape, q.dtype
        q, k, v = (at_least_float32(t) for t in (q, k, v))
        y = fused_attention(q.flatten(2, 3), self.mix(k, self.proj_k), self.mix(v, self.proj_v))
        return y.reshape(shape).to(dtype)
