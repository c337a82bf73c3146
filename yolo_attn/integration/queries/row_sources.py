"""Resolve the ``from`` column of a model YAML. Every part of the project that follows a ``from`` calls this module."""

from __future__ import annotations

from collections.abc import Sequence

IMAGE = -1  # stands for the image among layer numbers
From = int | Sequence[int]


def is_list(source: From) -> bool:
    """Return whether a ``from`` is a list: the layer then gets a list of maps, not one map."""
    return isinstance(source, list | tuple)


def resolve(source: From, index: int) -> tuple[int, ...]:
    """Return the numbers of the layers that row ``index`` reads, in order.

    Args:
        source: The row's ``from``: a layer number or a list of them. A negative number counts back from the row.
        index: The row's number. The first row reads the image, whatever its ``from`` says.
    """
    numbers = source if isinstance(source, Sequence) else [source]
    return tuple(IMAGE if index == 0 else index + number if number < 0 else number for number in numbers)
