"""The arguments that this package adds to ``yolo train`` and ``yolo export``, and what values they take.

Ultralytics refuses arguments that it does not know. The arguments of a training that uses none of ours are unchanged.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import date
from typing import Any, TypeGuard

from ...errors import ArgumentError
from ...messages import joined, nearest
from . import ultralytics_arguments
from .yaml_files import listed

NEW_LR_MULT = "new_lr_mult"
ADDED: dict[str, Any] = {NEW_LR_MULT: None, "partial": False}  # name -> default
ADDED_TO: dict[str, dict[str, Any]] = {"train": ADDED, "export": {"verify": False}}  # by mode
FROM_0 = ("workers", "close_mosaic", "time", "box", "cls", "dfl")
CHOICES = {"cache": ("ram", "disk"), "copy_paste_mode": ("flip", "mixup")}  # beside True and False
UNTYPED = ("model", "data", "source", "resume")  # from Python, objects and lists too
PART = re.compile(r"\d+(\.\w+)*")  # of a model: the number of a layer, and names of modules in it
FREEZE_NAMES = ("backbone", "transferred")  # values that we add to Ultralytics' ``freeze``


def uses_ours(arguments: Mapping[str, Any]) -> bool:
    """Return whether a training was given one of our arguments, or ``freeze`` with one of our values."""
    return arguments.get("freeze") in FREEZE_NAMES or any(arguments.get(k, v) != v for k, v in ADDED.items())


def check_values(arguments: Mapping[str, Any]) -> None:
    """Check the values of our arguments; raise an ArgumentError for an invalid one."""
    factor = arguments.get(NEW_LR_MULT)
    if factor is not None and not (_is_number(factor) and 0 < factor < 1e9):
        raise ArgumentError(f"{NEW_LR_MULT}={factor} must be a number above 0, e.g. {NEW_LR_MULT}=10")
    for name in ("partial", "verify"):
        if not isinstance(value := arguments.get(name, False), bool):
            raise ArgumentError(f"{name}={value} must be True or False")


def check_freeze(value: Any) -> None:
    """Raise an ArgumentError for a ``freeze`` that is neither one of our values nor layer numbers.

    A list may also name parts of layers, such as ``26.cv2``: our own values become such lists in a training.
    """
    if value is None or (isinstance(value, str) and value in FREEZE_NAMES):
        return
    parts = listed(value)
    if not isinstance(value, str):
        parts = [int(each.split(".")[0]) if isinstance(each, str) and PART.fullmatch(each) else each for each in parts]
    if not all(isinstance(number, int) and not isinstance(number, bool) and number >= 0 for number in parts):
        raise ArgumentError(
            f"freeze={value} is unknown.{nearest(str(value), FREEZE_NAMES)} Give backbone, transferred, a number of "
            "layers or a list of layer numbers"
        )


def _check_type(name: str, value: Any) -> None:
    """Raise an ArgumentError for a mapping, a nested list, a list or a number where Ultralytics documents none."""
    argument = ultralytics_arguments.read().get(name)
    if argument is None or name in UNTYPED:
        return
    types = set(re.findall(r"\w+", argument.type))
    is_list = isinstance(value, list | tuple)
    is_switch = "bool" in types and types <= {"bool", "str", "optional"}
    if (
        any(isinstance(each, Mapping | list | tuple | date) for each in listed(value))
        or (is_list and not (value and types & {"list", "tuple"}))
        or (is_switch and _is_number(value))
    ):
        raise ArgumentError(f"{name}={value} must be of the type {argument.type}")


def check_usable(arguments: Mapping[str, Any]) -> None:
    """Raise an ArgumentError for a value that Ultralytics accepts but cannot use, or ignores without a word."""
    for name, value in arguments.items():
        _check_type(name, value)
        for number in listed(value):
            if isinstance(number, float) and not math.isfinite(number):
                raise ArgumentError(f"{name}={value} must be a finite number")
        if name in FROM_0 and _is_number(value) and value < 0:
            raise ArgumentError(f"{name}={value} must be a number from 0")
        if name in CHOICES and isinstance(value, str) and value not in CHOICES[name]:
            raise ArgumentError(
                f"{name}={value} must be {joined(CHOICES[name], ' or ')}.{nearest(value, CHOICES[name])}"
            )
    batch, classes = arguments.get("batch"), arguments.get("classes")
    if _is_number(batch) and batch != -1 and not (0 < batch < 1 or (batch >= 1 and float(batch).is_integer())):
        raise ArgumentError(f"batch={batch} must be a whole number from 1, -1 or a share of the memory such as 0.7")
    for size in listed(arguments.get("imgsz")):
        is_text = isinstance(size, str) and not re.fullmatch(r"\[.*\]|\d+", size)  # Ultralytics converts these
        is_whole = not isinstance(size, int | float) or (not isinstance(size, bool) and size >= 1 and size == int(size))
        if is_text or not is_whole:
            raise ArgumentError(f"imgsz={arguments['imgsz']} must be a whole number of pixels, e.g. imgsz=640")
    for number in [] if classes is None else listed(classes):
        if not isinstance(number, int) or isinstance(number, bool) or number < 0:
            raise ArgumentError(f"classes={classes} must be class numbers from 0, e.g. classes=0,2")


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
