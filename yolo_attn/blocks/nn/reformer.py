"""Attention among vectors that are hashed alike (Reformer)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn

from ..functional import at_least_float32, recompute_in_backward

MAX_BUCKETS = 128  # of one hash round; more would make hashing grow with the square of the map
SELF_SCORE = -1e9  # the score of a vector with itself


class ReformerAttention(nn.Module):
    """LSH attention with shared queries and keys, in float32.

    Kitaev et al., "Reformer: The Efficient Transformer", ICLR 2020, https://arxiv.org/abs/2001.04451, Sec. 2 and
    appendix A. In each round ``hash(x) = argmax([x R; -x R])``, the vectors are sorted by hash and place and cut into
    chunks; each attends to its chunk and the one before, with its own key ``q / |q|`` at last resort only. Rounds are
    added up as parts of one softmax, a pair that meets in n of them counting as 1 / n in each.

    Args:
        head_dim: d.
        hashes: Number of rounds.
        bucket_size: Length of a chunk, twice the mean size of a bucket.
    """

    rotations: torch.Tensor

    def __init__(self, head_dim: int, hashes: int, bucket_size: int) -> None:
        super().__init__()
        self.bucket_size = bucket_size
        # Rounded to what every half precision holds: a saved model, or one in half precision, hashes with the same.
        self.register_buffer("rotations", torch.randn(hashes, head_dim, MAX_BUCKETS // 2).bfloat16().float())

    def forward(
        self,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        valid: torch.Tensor | None = None,
        table: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """See ``_kernels``; ``k`` is q and not used, ``valid`` and ``table`` must be None."""
        shape, dtype = q.shape, q.dtype
        q, v = (at_least_float32(t).flatten(2, 3) for t in (q, v))  # M heads N d
        orders = self.sort_by_hash(q.detach())  # rounds M heads N: which vector comes where
        places = orders.argsort(3)  # rounds M heads N: where each vector comes
        rounds = len(self.rotations)
        parts = [
            recompute_in_backward(self.attend_in_round, q, v, orders[r], places[r], places // self.bucket_size)
            for r in range(rounds)
        ]
        share = torch.stack([total for _, total in parts]).softmax(0)  # rounds M heads N 1
        y = (torch.stack([out for out, _ in parts]) * share).sum(0)
        return y.reshape(shape).to(dtype)

    def sort_by_hash(self, q: torch.Tensor) -> torch.Tensor:
        """Return the order by hash, then by place, for each round: ``(rounds, M, heads, N)``."""
        N = int(q.shape[2])
        half = min(-(-N // self.bucket_size), MAX_BUCKETS // 2)  # of the buckets
        place = torch.arange(N, device=q.device)
        orders = []
        for rotation in self.rotations.to(q.dtype):
            turned = torch.matmul(q, rotation[:, :half])  # M heads N buckets/2
            bucket = torch.cat([turned, -turned], 3).argmax(3)
            orders.append((bucket * N + place).argsort(2))
        return torch.stack(orders)

    def attend_in_round(
        self, q: torch.Tensor, v: torch.Tensor, order: torch.Tensor, place: torch.Tensor, chunks: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return a round's output, ``(M, heads, N, d)``, and the logarithm of what it was divided by."""
        N = int(q.shape[2])
        q = self.to_chunks(reorder(q, order), 0.0)  # M heads n m d
        k, v = with_previous(F.normalize(q, dim=4), 0.0), with_previous(self.to_chunks(reorder(v, order), 0.0), 0.0)
        vector = self.to_chunks(order.unsqueeze(3), -1)  # M heads n m 1
        other = with_previous(vector, -1).transpose(3, 4)  # M heads n 1 2m
        scores = torch.matmul(q, k.transpose(3, 4)) * q.shape[4] ** -0.5  # M heads n m 2m
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
        back = place.unsqueeze(3)
        return reorder(y.flatten(2, 3)[:, :, :N], place), total.flatten(2, 3)[:, :, :N].gather(2, back)

    def to_chunks(self, t: torch.Tensor, fill: float) -> torch.Tensor:
        """Cut ``(M, heads, N, d)`` into ``(M, heads, n, m, d)``, the last chunk filled up."""
        t = F.pad(t, (0, 0, 0, -int(t.shape[2]) % self.bucket_size), value=fill)
        return t.reshape(*t.shape[:2], -1, self.bucket_size, t.shape[3])


def with_previous(t: torch.Tensor, fill: float) -> torch.Tensor:
    """Return each chunk behind the one before it: ``(M, heads, n, m, d)`` to ``(M, heads, n, 2m, d)``."""
    before = F.pad(t[:, :, :-1], (0, 0, 0, 0, 1, 0), value=fill)
    return torch.cat([before, t], 3)


def reorder(t: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
    """Return the vectors of ``t``, ``(M, heads, N, d)``, in another order."""
    return t.gather(2, order.unsqueeze(3).expand(-1, -1, -1, t.shape[3]))
