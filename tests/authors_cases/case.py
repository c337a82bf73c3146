"""The format of an entry, and how most entries rename parameters."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import nn

Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True, kw_only=True)
class AuthorsCase:
    """Map one of the authors' modules to ours.

    Attributes:
        make: Builds our module from the case's ``meta``.
        ours: Renames tensors from the authors' names to ours. It gets the parameters and buffers, and once more the
            gradients of the parameters: a part of them must do, and it must be linear.
        run: Calls our module on the list of inputs and returns the output or outputs.
        tolerance: Relative and absolute.
    """

    make: Callable[[dict], nn.Module]
    ours: Callable[[Tensors], Tensors]
    run: Callable = lambda module, inputs: module(*inputs)
    tolerance: float = 1e-9


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
