"""Ways to weigh keys: softmax, and methods whose time grows linearly with the number of keys. LSH is in ``_lsh``.

Each is called as ``kernel(q, k, v, valid, table)``: q ``(M, heads, H, W, d)``, k and v ``(M, heads, h, w, d)``, ``valid``
None or ``(M, h, w)``, which keys there are, ``table`` None or the relative bias, ``(heads, H + h - 1, W + w - 1)``.
It returns ``(M, heads, H, W, d)``. M stands for samples times windows. Autocast is off.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd.function import once_differentiable

from ..functional import at_least_float32, building_graph, resize_by_mean

MAX_SCORES = {"cpu": 2**21, "cuda": 2**26, "graph": 2**24}  # scores, and with them bias entries, that exist at once
MAX_BATCH = 2**15  # CUDA's kernels take a batch of less than 2^16


def fused_attention(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, bias: torch.Tensor | None = None
) -> torch.Tensor:
    """Return softmax(q k^T / sqrt(d) + bias) v; q ``(M, heads, N, d)``, ``bias`` of numbers or (key is there) bools.

    Torch's fused kernels hold no scores and add in float32. On the CPU, a bias that needs a gradient has none; it is
    computed in float32 then, as the scores of half precision may overflow.
    """
    d, dtype = int(q.shape[-1]), q.dtype
    if bias is not None and bias.requires_grad and dtype.itemsize < 4 and q.device.type != "cuda":
        q, k, v = q.float(), k.float(), v.float()
    if q.device.type == "cuda" and d % 8:  # the fused kernels of CUDA do not take others
        q, k, v = (F.pad(t, (0, -d % 8)) for t in (q, k, v))
    if bias is not None and bias.dtype != torch.bool:
        bias = bias.to(q.dtype)
    q, k, v = q.contiguous(), k.contiguous(), v.contiguous()  # nor channels with a stride
    y = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=d**-0.5)
    return y[..., :d].to(dtype)


class SoftmaxAttention(nn.Module):
    """Scaled dot-product attention (https://arxiv.org/abs/1706.03762), with a relative bias if there is one."""

    def forward(
        self,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        valid: torch.Tensor | None = None,
        table: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """See the module's head."""
        batch = int(q.shape[0])
        if batch > MAX_BATCH:
            at = range(0, batch, MAX_BATCH)
            parts = [[None if t is None else t[a : a + MAX_BATCH] for t in (q, k, v, valid)] for a in at]
            return torch.cat([self(*part, table) for part in parts])
        if table is not None:
            return biased_attention(q, k, v, valid, table)
        there = None if valid is None else valid.flatten(1)[:, None, None]  # M 1 1 hw
        y = fused_attention(q.flatten(2, 3), k.flatten(2, 3), v.flatten(2, 3), there)
        return y.reshape(q.shape)


def biased_attention(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, valid: torch.Tensor | None, table: torch.Tensor
) -> torch.Tensor:
    """Attend with a relative bias, block by block of queries, so that neither scores nor biases exist all at once."""
    k, v = k.flip(2, 3), v.flip(2, 3)  # with keys in reverse order, place q of the table's windows is query q's bias
    valid = None if valid is None else valid.flip(1, 2)
    needed = torch.is_grad_enabled() and any(t.requires_grad for t in (q, k, v, table))
    if needed and not building_graph() and sum(map(len, query_tiles(q, k))) > 1:
        y: torch.Tensor = AttendInTiles.apply(q, k, v, valid, table)
        return y
    return attend_in_tiles(q, k, v, valid, table)


def query_tiles(q: torch.Tensor, k: torch.Tensor) -> list[list[tuple[slice, slice]]]:
    """Return the rows and columns of each block of queries, a list for each row of blocks."""
    M, heads, H, W = (int(n) for n in q.shape[:4])
    scores = M * heads * int(k.shape[2]) * int(k.shape[3])  # of one query
    device = "graph" if building_graph() else "cpu" if q.device.type == "cpu" else "cuda"
    queries = max(1, MAX_SCORES[device] // scores)
    dy, dx = max(1, min(H, queries // W)), min(W, queries)
    starts = [[(y, x) for x in range(0, W, dx)] for y in range(0, H, dy)]
    return [[(slice(y, min(y + dy, H)), slice(x, min(x + dx, W))) for y, x in row] for row in starts]


def slices_of_table(block: tuple[slice, slice], k: torch.Tensor) -> tuple[slice, slice, slice]:
    """Return where the table has the biases of a block of queries."""
    rows, columns = (slice(s.start, s.stop + int(n) - 1) for s, n in zip(block, k.shape[2:4], strict=True))
    return slice(None), rows, columns


def attend_in_tiles(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, valid: torch.Tensor | None, table: torch.Tensor
) -> torch.Tensor:
    """Return the attention of all queries; keys in reverse order."""
    rows = [
        torch.cat([attend_in_tile(q[:, :, b[0], b[1]], k, v, valid, table[slices_of_table(b, k)]) for b in row], 3)
        for row in query_tiles(q, k)
    ]
    return torch.cat(rows, 2)


class AttendInTiles(torch.autograd.Function):
    """``attend_in_tiles`` that keeps its inputs only, and computes each block again in the backward pass."""

    @staticmethod
    def forward(ctx: Any, *tensors: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(*tensors)
        return attend_in_tiles(*tensors)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        q, k, v, valid, table = ctx.saved_tensors
        sums = [torch.zeros_like(t, dtype=at_least_float32(t[:0]).dtype) for t in (q, k, v, table)]
        with torch.enable_grad(), torch.autocast(q.device.type, enabled=False):
            for b in itertools.chain(*query_tiles(q, k)):
                at = ((slice(None), slice(None), *b), (), (), slices_of_table(b, k))  # what the block takes of each
                parts = [t[i].detach().requires_grad_() for t, i in zip((q, k, v, table), at, strict=True)]
                y = attend_in_tile(parts[0], parts[1], parts[2], valid, parts[3])
                for total, i, g in zip(sums, at, torch.autograd.grad(y, parts, grad[at[0]]), strict=True):
                    total[i] += g
        dq, dk, dv, dtable = (total.to(t.dtype) for total, t in zip(sums, (q, k, v, table), strict=True))
        return dq, dk, dv, None, dtable


def attend_in_tile(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, valid: torch.Tensor | None, table: torch.Tensor
) -> torch.Tensor:
    """Return the attention of a block of queries; keys in reverse order."""
    h, w = (int(n) for n in k.shape[2:4])
    bias = table.unfold(1, h, 1).unfold(2, w, 1)  # heads H W h w
    bias = bias.reshape(1, bias.shape[0], -1, h * w)  # 1 heads HW hw
    if valid is not None:
        bias = bias.masked_fill(~valid.flatten(1)[:, None, None], -math.inf)  # M heads HW hw
    y = fused_attention(q.flatten(2, 3), k.flatten(2, 3), v.flatten(2, 3), bias)
    return y.reshape(q.shape)


def normalized_product(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, valid: torch.Tensor | None, eps: float = 0.0
) -> torch.Tensor:
    """Return q (k^T v) / (q k^T 1 + eps) for features that are not negative; ``(M, heads, N, d)``."""
    if valid is not None:
        k = k * valid.flatten(1)[:, None, :, None]
    total = torch.matmul(q, k.sum(2).unsqueeze(3))  # M heads N 1
    return torch.matmul(q, torch.matmul(k.transpose(2, 3), v)) / (total + eps)


class LinearAttention(nn.Module):
    """Attention through a feature map of q and k, in float32.

    ``elu``: phi = elu + 1, ``phi(q) (phi(k)^T v) / (phi(q) phi(k)^T 1)``, Katharopoulos et al., "Transformers are
    RNNs", ICML 2020, https://arxiv.org/abs/2006.16236, eq. 5 and 7. ``softmax``: ``softmax_d(q) (softmax_N(k)^T v)``,
    Shen et al., "Efficient Attention", WACV 2021, https://arxiv.org/abs/1812.01243.
    """

    def __init__(self, feature_map: str) -> None:
        super().__init__()
        self.feature_map = feature_map

    def forward(
        self,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        valid: torch.Tensor | None = None,
        table: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """See the module's head."""
        shape, dtype = q.shape, q.dtype
        q, k, v = (at_least_float32(t).flatten(2, 3) for t in (q, k, v))  # M heads N d
        if self.feature_map == "elu":
            return normalized_product(F.elu(q) + 1, F.elu(k) + 1, v, valid, eps=1e-6).reshape(shape).to(dtype)
        if valid is not None:
            k = k.masked_fill(~valid.flatten(1)[:, None, :, None], -math.inf)
        context = torch.matmul(k.softmax(2).transpose(2, 3), v)  # M heads d d
        return torch.matmul(q.softmax(3), context).reshape(shape).to(dtype)


class PerformerAttention(nn.Module):
    """FAVOR+: positive orthogonal random features of the softmax kernel, in float32.

    Choromanski et al., "Rethinking Attention with Performers", ICLR 2021, https://arxiv.org/abs/2009.14794, eq. 5 and
    Sec. 2.4: ``phi(x) = exp(w . x - |x|^2 / 2 - c) / sqrt(m)`` for each row w of ``projection_matrix``, c the largest
    exponent, of one query or of all keys, and q, k divided by d^(1/4) before.

    Args:
        head_dim: d.
        features: m.
        eps: Added to each exponential, so that no key is lost.
    """

    projection_matrix: torch.Tensor

    def __init__(self, head_dim: int, features: int, eps: float = 1e-4) -> None:
        super().__init__()
        self.eps = eps
        self.register_buffer("projection_matrix", orthogonal_rows(features, head_dim))

    def features_of(self, x: torch.Tensor, valid: torch.Tensor | None, dims: tuple[int, ...]) -> torch.Tensor:
        """Return the features of queries or keys, ``(M, heads, N, m)``; the largest exponent is taken over ``dims``."""
        x = x * x.shape[3] ** -0.25
        exponent = torch.matmul(x, self.projection_matrix.to(x.dtype).t())
        if valid is not None:
            exponent = exponent.masked_fill(~valid.flatten(1)[:, None, :, None], -math.inf)
        largest = exponent.detach().amax(dims, keepdim=True)
        features = (exponent - x.square().sum(3, keepdim=True) / 2 - largest).exp() + self.eps
        return features * self.projection_matrix.shape[0] ** -0.5

    def forward(
        self,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        valid: torch.Tensor | None = None,
        table: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """See the module's head."""
        shape, dtype = q.shape, q.dtype
        q, k, v = (at_least_float32(t).flatten(2, 3) for t in (q, k, v))  # M heads N d
        y = normalized_product(self.features_of(q, None, (3,)), self.features_of(k, valid, (2, 3)), v, valid)
        return y.reshape(shape).to(dtype)


def orthogonal_rows(rows: int, columns: int) -> torch.Tensor:
    """Return random rows, orthogonal in blocks of ``columns``, each as long as a row of normal numbers.

    Rounded to half precision, in which Ultralytics saves models: a saved layer has the same features.
    """
    blocks = [torch.linalg.qr(torch.randn(columns, columns))[0].t() for _ in range(-(-rows // columns))]
    lengths = torch.randn(rows, columns).norm(dim=1, keepdim=True)
    return (torch.cat(blocks)[:rows] * lengths).half().float()


class LinformerAttention(nn.Module):
    """Softmax attention to a fixed number of learned mixtures of the keys, in float32.

    Wang et al., "Linformer: Self-Attention with Linear Complexity", 2020, https://arxiv.org/abs/2006.04768, eq. 7:
    ``softmax(q (E k)^T / sqrt(d)) F v``, E = ``proj_k``, F = ``proj_v``, both transposed, one of each for all heads.

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

    def mix(self, t: torch.Tensor, projection: torch.Tensor) -> torch.Tensor:
        """Mix the keys or values, ``(B, heads, h, w, d)`` to ``(B, heads, k, d)``."""
        heads, d = t.shape[1], t.shape[4]
        t = t.permute(0, 1, 4, 2, 3).flatten(1, 2)  # B C h w
        if tuple(t.shape[2:]) != self.grid:
            t = resize_by_mean(t, *self.grid, overlap=True)
        t = torch.matmul(t.flatten(2), projection.to(t.dtype))  # B C k
        return t.reshape(-1, heads, d, t.shape[2]).transpose(2, 3)

    def forward(
        self,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        valid: torch.Tensor | None = None,
        table: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """See the module's head; ``valid`` and ``table`` must be None."""
        shape, dtype = q.shape, q.dtype
        q, k, v = (at_least_float32(t) for t in (q, k, v))
        y = fused_attention(q.flatten(2, 3), self.mix(k, self.proj_k), self.mix(v, self.proj_v))
        return y.reshape(shape).to(dtype)
