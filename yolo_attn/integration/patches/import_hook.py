"""Wait for Ultralytics to be imported, and wrap its functions as soon as each module is loaded.

The start-up hook calls :func:`arm` when Ultralytics is imported, before its first module runs.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

# Modules of Ultralytics with wrapped functions; ``wrapped_functions`` lists the functions.
TARGETS = frozenset(
    {
        "ultralytics.cfg",
        "ultralytics.data.utils",
        "ultralytics.engine.exporter",
        "ultralytics.engine.model",
        "ultralytics.engine.trainer",
        "ultralytics.models.yolo.detect.train",
        "ultralytics.models.yolo.detect.val",
        "ultralytics.nn.tasks",
        "ultralytics.utils.checks",
        "ultralytics.utils.dist",
    }
)
_looking_for: set[str] = set()
_failed: Callable[[BaseException], None] | None = None  # what to do if the wrappers cannot be loaded


class _Loader:
    """Run the module's own loader, then wrap; afterwards the module has its own loader again."""

    def __init__(self, loader: Any) -> None:
        self.loader = loader

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loader, name)

    def exec_module(self, module: Any) -> None:
        module.__spec__.loader = module.__loader__ = self.loader
        self.loader.exec_module(module)
        _wrap(module, fresh=True)


class Finder:
    """Find only the modules in ``TARGETS``, on the meta path."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Return the spec of the other finders with a wrapped loader; None for any other module."""
        if name not in TARGETS or name in _looking_for:
            return None
        _looking_for.add(name)  # other import hooks ask the whole meta path in the same way, us included
        try:
            for finder in sys.meta_path:
                if finder is Finder or not hasattr(finder, "find_spec"):
                    continue
                spec = finder.find_spec(name, path, target)
                if spec is not None:
                    if spec.loader is not None and not isinstance(spec.loader, _Loader):
                        spec.loader = _Loader(spec.loader)  # type: ignore[assignment]
                    return spec
            return None
        finally:
            _looking_for.discard(name)


def arm(failed: Callable[[BaseException], None] | None = None) -> None:
    """Wrap the modules of Ultralytics that are loaded, and wait for the others.

    Args:
        failed: If the wrappers cannot be loaded, call this and leave Ultralytics alone, instead of raising. The
            start-up hook does so.
    """
    global _failed
    _failed = failed
    if Finder not in sys.meta_path:
        sys.meta_path.insert(0, Finder)
    for module in [sys.modules[name] for name in TARGETS if name in sys.modules]:
        if not getattr(module.__spec__, "_initializing", False):
            _wrap(module)


def disarm() -> None:
    """Stop waiting, and stop the start-up hook from starting it again."""
    sys.meta_path = [f for f in sys.meta_path if f is not Finder and not _is_start_up(f)]


def _is_start_up(finder: Any) -> bool:
    return getattr(finder, "__module__", "") == "_yolo_attn_startup"


def _wrap(module: ModuleType, *, fresh: bool = False) -> None:
    try:
        from . import wrapped_functions  # start-up time
    except (Exception, SystemExit) as error:
        if _failed is None:
            raise
        disarm()
        _failed(error)
    else:
        wrapped_functions.apply(module, fresh=fresh)
