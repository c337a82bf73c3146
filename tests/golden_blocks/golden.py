"""The form of an entry, and the usual way of renaming parameters."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import nn

Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True, kw_only=True)
class Golden:
    """Our side of one of the authors' blocks.

    Attributes:
        make: From the case's ``meta`` to our module.
        ours: From tensors by the authors' names to tensors by ours. It is given the authors' parameters and buffers,
            and once more the gradients of the parameters, so it may be given a part of them only, and must be linear.
        run: From our module and the list of inputs to the output or outputs.
        tolerance: Relative and absolute.
        deviation: Why ours deliberately gives other figures; None where it gives the authors'.
    """

    make: Callable[[dict], nn.Module]
    ours: Callable[[Tensors], Tensors]
    run: Callable = lambda module, inputs: module(*inputs)
    tolerance: float = 1e-9
    deviation: str | None = None


def renamed(table: Mapping[str, str]) -> Callable[[Tensors], Tensors]:
    """Return a renaming by patterns, the first that matches; every name must match one."""

    def name_of(theirs: str) -> str:
        for pattern, ours in table.items():
            if re.match(pattern, theirs):
                return re.sub(f"^{pattern}", ours, theirs)
        raise AssertionError(f"no name of ours for the authors' parameter {theirs!r}")

    def ours(tensors: Tensors) -> Tensors:
        given = {name_of(k): v for k, v in tensors.items()}
        assert len(given) == len(tensors), "two of the authors' parameters have one name of ours"
        return given

    return ours
