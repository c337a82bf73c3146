"""The one switch that extends this package's rules to stock models.

A stock model has no layer of the registry. By default it gets Ultralytics' own loading, freezing, data checks and
errors. In strict mode, every model gets aligned weights, vetted data and errors of one line. The commands of
``yolo-attn`` run in strict mode.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_strict: ContextVar[bool] = ContextVar("yolo_attn_strict", default=False)


@contextmanager
def strict(on: bool = True) -> Iterator[None]:
    """Switch strict mode on within this context. ``on=False`` changes nothing."""
    token = _strict.set(on or _strict.get())
    try:
        yield
    finally:
        _strict.reset(token)


def enter_strict_mode() -> None:
    """Switch strict mode on for the rest of the process: for a child process of a strict one."""
    _strict.set(True)


def is_strict() -> bool:
    """Return whether strict mode is on."""
    return _strict.get()
