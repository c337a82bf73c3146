"""Memory against time: keep a part's inputs for the backward pass instead of everything inside it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.utils.checkpoint import checkpoint


def in_graph() -> bool:
    """Tell whether a graph is being made. Exporters do not know how to recompute: it holds the plain operations."""
    tracing: bool = torch.jit.is_tracing()  # type: ignore[attr-defined,no-untyped-call]
    return tracing or torch.compiler.is_compiling()


def recomputed(part: Callable[..., tuple[torch.Tensor, ...]], *args: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Return ``part(*args)``; where gradients are needed, compute it again in the backward pass."""
    if torch.is_grad_enabled() and any(a.requires_grad for a in args) and not in_graph():
        out: tuple[torch.Tensor, ...] = checkpoint(part, *args, use_reentrant=False, preserve_rng_state=False)
        return out
    return part(*args)
