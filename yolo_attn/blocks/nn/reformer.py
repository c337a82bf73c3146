"""Attention among vectors with the same hash (Reformer)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..functional import at_least_float32, recompute_in_backward, smaller_of

MAX_BUCKETS = 128  # in one hash round; the time of hashing would otherwise grow with the square of the map
SELF_SCORE = -1e9  # score of a vector with itself


class ReformerAttention(nn.Module):
    """Attend with locality-sensitive hashing (LSH) and shared queries and keys, in float32.

    Kitaev et al., "Reformer: The Efficient Transformer", ICLR 2020, https://arxiv.org/abs/2001.04451, Sec. 2 and
    appendix A. Each round computes ``hash(x) = argmax([x R; -x R])``, sorts the vectors by hash and position, and cuts
    them into chunks. A vector attends to its chunk and the one before; its own key ``q / |q|`` gets a score so low that
    it counts only if there is no other. The rounds are parts of one softmax: a pair that meets in n rounds counts as
    1 / n in each. ``hashes`` is the number of rounds, ``bucket_size`` the length of a chunk, twice the mean size of a
    bucket.
    """

    rotations: Tensor

    def __init__(self, head_dim: int, hashes: int, bucket_size: int) -> None:
        super().__init__()
        self.bucket_size = bucket_size
        # Rounded to a value that all half precisions hold, so that saved and half precision models hash alike.
        self.register_buffer("rotations", torch.randn(hashes, head_dim, MAX_BUCKETS // 2).bfloat16().float())

    def forward(
        self, q: Tensor, k: Tensor, v: Tensor, valid: Tensor | None = None, table: Tensor | None = None
    ) -> Tensor:
        """Return the attention; ``k`` is q and not used, ``valid`` and ``table`` must be None."""
        shape, dtype = q.shape, q.dtype
        q, v = (at_least_float32(t).flatten(2, 3) for t in (q, v))  # M heads N d
        orders = self.sort_by_hash(q.detach())  # rounds M heads N: the vector at each rank
        ranks = orders.argsort(3)  # rounds M heads N: the rank of each vector
        chunks = (ranks // self.bucket_size).unbind(0)
        rounds = zip(orders.unbind(0), ranks.unbind(0), strict=True)  # tracing warns of iteration over a tensor
        parts = [recompute_in_backward(self.attend_in_round, q, v, *one, *chunks) for one in rounds]
        outs, totals = map(torch.stack, zip(*parts, strict=True))  # rounds M heads N d, rounds M heads N 1
        return (outs * totals.softmax(0)).sum(0).reshape(shape).to(dtype)

    def sort_by_hash(self, q: Tensor) -> Tensor:
        """Return the order by hash, then by position, for each round: ``(rounds, M, heads, N)``."""
        N = q.shape[2]
        half = smaller_of((N + self.bucket_size - 1) // self.bucket_size, MAX_BUCKETS // 2)  # of the buckets
        position = torch.arange(N, device=q.device)
        orders = []
        for rotation in self.rotations.to(q.dtype).unbind(0):
            turned = torch.matmul(q, rotation[:, :half])  # M heads N buckets/2
            bucket = torch.cat([turned, -turned], 3).argmax(3)
            orders.append((bucket * N + position).argsort(2))
        return torch.stack(orders)

    def attend_in_round(
        self, q: Tensor, v: Tensor, order: Tensor, rank: Tensor, *chunks: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the output of a round, ``(M, heads, N, d)``, and the logarithm of its softmax's denominator."""
        N = q.shape[2]
        d = self.rotations.shape[1]
        q = self.to_chunks(reorder(q, order), 0.0)  # M heads n m d
        k, v = with_previous(F.normalize(q, dim=4), 0.0), with_previous(self.to_chunks(reorder(v, order), 0.0), 0.0)
        vector = self.to_chunks(order.unsqueeze(3), -1)  # M heads n m 1
        other = with_previous(vector, -1).transpose(3, 4)  # M heads n 1 2m
        scores = torch.matmul(q, k.transpose(3, 4)) * d**-0.5  # M heads n m 2m
        scores = scores.masked_fill(vector == other, SELF_SCORE)
        if len(chunks) > 1:
            meetings = torch.zeros_like(scores)
            for in_round in chunks:  # M heads N
                mine = self.to_chunks(in_round.gather(2, order).unsqueeze(3), 0)
                apart = mine - with_previous(mine, 0).transpose(3, 4)
                meetings = meetings + ((apart == 0) | (apart == 1))
            scores = scores - meetings.clamp(min=1).log()
        scores = scores.masked_fill(other < 0, -math.inf)
        total = scores.logsumexp(4, keepdim=True)
        y = torch.matmul((scores - total).exp(), v)
        return reorder(y.flatten(2, 3)[:, :, :N], rank), reorder(total.flatten(2, 3)[:, :, :N], rank)

    def to_chunks(self, t: Tensor, fill: float) -> Tensor:
        """Cut ``(M, heads, N, d)`` into ``(M, heads, n, m, d)``; pad the last chunk with ``fill``."""
        M, heads, N, d = t.shape
        chunks = (N + self.bucket_size - 1) // self.bucket_size
        index = torch.arange(chunks * self.bucket_size, device=t.device)  # a gather: F.pad misleads ONNX simplifiers
        t = t.index_select(2, index % N).masked_fill((index >= N).unsqueeze(1), fill)
        return t.reshape(M, heads, -1, self.bucket_size, d)


def with_previous(t: Tensor, fill: float) -> Tensor:
    """Prepend to each chunk the one before it: ``(M, heads, n, m, d)`` to ``(M, heads, n, 2m, d)``."""
    before = torch.cat([torch.full_like(t[:, :, :1], fill), t[:, :, :-1]], 2)
    return torch.cat([before, t], 3)


def reorder(t: Tensor, order: Tensor) -> Tensor:
    """Return the vectors of ``t``, ``(M, heads, N, d)``, in another order."""
    return t.gather(2, order.unsqueeze(3).expand(-1, -1, -1, t.shape[3]))
