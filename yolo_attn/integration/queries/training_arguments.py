"""The arguments that this package adds to ``yolo train``, and what values they take.

Ultralytics refuses arguments that it does not know. The arguments of a training that uses none of ours are unchanged.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...errors import ArgumentError
from ...messages import nearest

NEW_LR_MULT = "new_lr_mult"
ADDED: dict[str, Any] = {NEW_LR_MULT: None, "partial": False}  # name -> default
FREEZE_NAMES = ("backbone", "transferred")  # values that we add to Ultralytics' ``freeze``


def uses_ours(arguments: Mapping[str, Any]) -> bool:
    """Return whether a training was given one of our arguments, or ``freeze`` with one of our values."""
    return arguments.get("freeze") in FREEZE_NAMES or any(arguments.get(k, v) != v for k, v in ADDED.items())


def check_values(arguments: Mapping[str, Any]) -> None:
    """Check the values of our arguments; raise an ArgumentError for an invalid one."""
    factor, partial = arguments.get(NEW_LR_MULT), arguments.get("partial", False)
    is_number = isinstance(factor, int | float) and not isinstance(factor, bool)
    if factor is not None and not (is_number and 0 < factor < 1e9):
        raise ArgumentError(f"{NEW_LR_MULT}={factor} must be a number above 0, e.g. {NEW_LR_MULT}=10")
    if not isinstance(partial, bool):
        raise ArgumentError(f"partial={partial} must be True or False")


def check_freeze(value: Any) -> None:
    """Raise an ArgumentError for a ``freeze`` that is a string and not one of our values."""
    if isinstance(value, str) and value not in FREEZE_NAMES:
        raise ArgumentError(
            f"freeze={value} is unknown.{nearest(value, FREEZE_NAMES)} Give backbone, transferred, a number of layers "
            "or a list of layer numbers"
        )
