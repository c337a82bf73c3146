"""Attention layers for Ultralytics YOLO, and an honest comparison of models.

Importing this package imports neither torch nor Ultralytics: every interpreter imports it at its start.
PYTEST_DONT_REWRITE: ``testing.pytest_plugin`` makes it a plugin of pytest, which may come second.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .integration import install, uninstall
    from .integration.weights.checkpoint_transfer import transfer
    from .integration.weights.loading import load
    from .model_yaml.check_report import check
    from .model_yaml.placing import Insertion, place
    from .registry import register
    from .report.compare_models import compare

__version__ = "0.1.0"
__all__ = ["Insertion", "check", "compare", "install", "load", "place", "register", "transfer", "uninstall"]

_MODULES = {  # name -> the module that defines it, imported when the name is first used
    "Insertion": "model_yaml.placing",
    "check": "model_yaml.check_report",
    "compare": "report.compare_models",
    "install": "integration",
    "load": "integration.weights.loading",
    "place": "model_yaml.placing",
    "register": "registry",
    "transfer": "integration.weights.checkpoint_transfer",
    "uninstall": "integration",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    if name == "register":  # refuse names of Ultralytics' layers from now on
        importlib.import_module(".integration", __name__).guard_names()
    value = globals()[name] = getattr(importlib.import_module(f".{_MODULES[name]}", __name__), name)
    return value


def __dir__() -> list[str]:
    return [*globals(), *_MODULES]
