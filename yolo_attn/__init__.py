"""Attention layers for Ultralytics YOLO model YAMLs.

Importing this package is cheap on purpose (neither torch nor Ultralytics): the interpreter does it at every start.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .integration.weights.checkpoint_transfer import transfer
    from .model_yaml.placing import Insertion, place

__version__ = "0.1.0"
__all__ = ["Insertion", "place", "register", "transfer", "unregister"]


def register(name: str | None = None, **spec: "Any") -> "Any":
    """Make layers known to Ultralytics.

    ``yolo_attn.register()`` teaches this process's Ultralytics every installed layer; the start-up hook does the same
    by itself unless ``YOLO_ATTN_AUTOLOAD=0``. Calling it again changes nothing.

    ``@yolo_attn.register("Name", paper=...)`` makes a module class of your own a layer type; the arguments are those
    of :class:`yolo_attn.registry.BlockSpec`.

    Raises:
        ValueError: If Ultralytics or another block already has that name.
    """
    from . import integration

    if name is None:
        if spec:
            raise TypeError(f"register() without a layer name takes no arguments, got {sorted(spec)}")
        integration.install()
        return None
    from . import registry

    integration.guard_names()
    return registry.register(name, **spec)


def unregister() -> None:
    """Undo ``register()``: Ultralytics is as it was before, in this process."""
    from . import integration

    integration.uninstall()


def __getattr__(name: str) -> "Any":
    """Import what is used by few programs only when it is asked for."""
    if name in ("Insertion", "place"):
        from .model_yaml import placing as module

        return getattr(module, name)
    if name == "transfer":
        from .integration.weights.checkpoint_transfer import transfer

        return transfer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
