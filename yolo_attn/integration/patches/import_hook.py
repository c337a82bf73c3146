"""Wait for Ultralytics to be imported, and wrap its functions as soon as each module is loaded.

The interpreter runs :func:`at_startup` at every start (``yolo_attn.pth``), so this file imports only ``sys`` and
``os``, which are loaded anyway (``__future__`` is not, hence the quoted annotations).
"""

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

# Modules of Ultralytics with wrapped functions; ``wrapped_functions`` lists the functions.
TARGETS = frozenset(
    {
        "ultralytics.cfg",
        "ultralytics.data.utils",
        "ultralytics.engine.model",
        "ultralytics.engine.trainer",
        "ultralytics.models.yolo.detect.train",
        "ultralytics.models.yolo.detect.val",
        "ultralytics.nn.tasks",
        "ultralytics.utils.checks",
        "ultralytics.utils.dist",
    }
)


class _Loader:
    """Run the module's own loader, then wrap; afterwards the module has its own loader again."""

    def __init__(self, loader: "Any") -> None:
        self.loader = loader

    def __getattr__(self, name: str) -> "Any":
        return getattr(self.loader, name)

    def exec_module(self, module: "Any") -> None:
        module.__spec__.loader = module.__loader__ = self.loader
        self.loader.exec_module(module)
        from . import wrapped_functions  # start-up time

        wrapped_functions.apply(module, fresh=True)


class Finder:
    """Find only the modules in ``TARGETS``, on the meta path."""

    @staticmethod
    def find_spec(
        name: str, path: "Sequence[str] | None" = None, target: "ModuleType | None" = None
    ) -> "ModuleSpec | None":
        """Return the spec of the other finders with a wrapped loader; None for any other module."""
        if name not in TARGETS:
            return None
        for finder in sys.meta_path:
            if finder is Finder or not hasattr(finder, "find_spec"):
                continue
            spec = finder.find_spec(name, path, target)
            if spec is not None:
                if spec.loader is not None:
                    spec.loader = _Loader(spec.loader)  # type: ignore[assignment]
                return spec
        return None


def at_startup() -> None:
    """Arm, unless ``YOLO_ATTN_AUTOLOAD=0``. The start-up files call this."""
    if os.environ.get("YOLO_ATTN_AUTOLOAD", "1") != "0":
        arm()


def arm() -> None:
    """Wrap the modules of Ultralytics that are loaded, and wait for the others."""
    if Finder not in sys.meta_path:
        sys.meta_path.insert(0, Finder)
    for module in [sys.modules[name] for name in TARGETS if name in sys.modules]:
        if not getattr(module.__spec__, "_initializing", False):
            from . import wrapped_functions  # start-up time

            wrapped_functions.apply(module)


def disarm() -> None:
    """Stop waiting."""
    if Finder in sys.meta_path:
        sys.meta_path.remove(Finder)
