"""Resolve the ``from`` column of a model YAML. Every part of the project that follows a ``from`` calls this module."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...errors import LayerError
from .yaml_files import listed

IMAGE = -1  # stands for the image among layer numbers


def is_list(source: object) -> bool:
    """Return whether a ``from`` is a list: the layer then gets a list of maps, not one map."""
    return isinstance(source, list | tuple)


def resolve(source: int | Sequence[int], index: int) -> tuple[int, ...]:
    """Return the numbers of the layers that row ``index`` reads, in order.

    Args:
        source: The row's ``from``: a layer number or a list of them. A negative number counts back from the row.
        index: The row's number. The first row reads the image, whatever its ``from`` says.
    """
    return tuple(IMAGE if index == 0 else index + n if n < 0 else n for n in listed(source))


def resolve_existing(source: Any, index: int) -> tuple[int, ...]:
    """Return those of the layers that exist, for a ``from`` that is not checked."""
    return tuple(x for n in listed(source) if isinstance(n, int) for x in resolve(n, index) if 0 <= x < index)


def check(source: Any, index: int) -> None:
    """Raise a LayerError if a layer in a ``from`` does not come before row ``index``."""
    for x in listed(source):
        if not isinstance(x, int) or isinstance(x, bool):
            raise LayerError(f"'from' must be a layer number or a list of them, got {source!r}")
        if index == 0 and x not in (-1, 0):
            raise LayerError(f"'from' is {x}, but the first layer can only read the image; write -1")
        if index > 0 and not -index <= x < index:
            raise LayerError(
                f"'from' is {x}, but the layers before this one are 0 to {index - 1}; -1 is the last of them"
            )
