"""The table of wrapped functions; put the wrappers in and take them out.

A function that other modules of Ultralytics already imported by name is replaced there too.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

from . import (
    base_model_load,
    build_dataset,
    build_optimizer,
    check_det_dataset,
    check_dict_alignment,
    check_file,
    entrypoint,
    exporter_call,
    generate_ddp_file,
    init_metrics,
    model_export,
    model_init,
    model_load,
    model_new,
    model_predict,
    model_train,
    parse_model,
    save_model,
    setup_model,
    torch_safe_load,
    trainer_train,
    yaml_model_load,
)

# module -> name in it -> the function that is called instead, with the original as its first argument
WRAPPERS: dict[str, dict[str, Callable[..., Any]]] = {
    "ultralytics.nn.tasks": {
        "parse_model": parse_model.replacement,
        "torch_safe_load": torch_safe_load.replacement,
        "yaml_model_load": yaml_model_load.replacement,
        "BaseModel.load": base_model_load.replacement,
        "DetectionModel.__init__": model_init.replacement,
        "ClassificationModel.__init__": model_init.replacement,
    },
    "ultralytics.cfg": {
        "check_dict_alignment": check_dict_alignment.replacement,
        "entrypoint": entrypoint.replacement,
    },
    "ultralytics.engine.exporter": {"Exporter.__call__": exporter_call.replacement},
    "ultralytics.engine.model": {
        "Model._new": model_new.replacement,
        "Model.export": model_export.replacement,
        "Model.load": model_load.replacement,
        "Model.predict": model_predict.replacement,
        "Model.train": model_train.replacement,
    },
    "ultralytics.engine.trainer": {
        "BaseTrainer.train": trainer_train.replacement,
        "BaseTrainer.setup_model": setup_model.replacement,
        "BaseTrainer.build_optimizer": build_optimizer.replacement,
        "BaseTrainer.save_model": save_model.replacement,
    },
    "ultralytics.utils.checks": {"check_file": check_file.replacement},
    "ultralytics.utils.dist": {"generate_ddp_file": generate_ddp_file.replacement},
    "ultralytics.data.utils": {"check_det_dataset": check_det_dataset.replacement},
    "ultralytics.models.yolo.detect.train": {"DetectionTrainer.build_dataset": build_dataset.replacement},
    "ultralytics.models.yolo.detect.val": {"DetectionValidator.init_metrics": init_metrics.replacement},
}

_done: dict[tuple[str, str], tuple[Callable[..., Any], Callable[..., Any]]] = {}  # (module, name): original, wrapper


def apply(module: ModuleType, fresh: bool = False) -> None:
    """Wrap what ``WRAPPERS`` lists for a module of Ultralytics. Skip a name that this version does not have.

    ``fresh``: its code was just run, maybe again (``importlib.reload``), so nothing in it is wrapped.
    """
    for name, replacement in WRAPPERS[module.__name__].items():
        owner, attribute = _owner(module, name)
        original = getattr(owner, attribute, None)
        if original is None or (not fresh and (module.__name__, name) in _done):
            continue
        wrapper = wrapped(original, replacement)
        _done[module.__name__, name] = original, wrapper
        _replace(owner, attribute, original, wrapper)


def wrapped(original: Callable[..., Any], replacement: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that looks like ``original`` and calls ``replacement(original, ...)``."""

    @functools.wraps(original)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return replacement(original, *args, **kwargs)

    return wrapper


def undo() -> None:
    """Put every original back."""
    for (module_name, name), (original, wrapper) in _done.items():
        if module_name in sys.modules:
            owner, attribute = _owner(sys.modules[module_name], name)
            _replace(owner, attribute, wrapper, original)
    _done.clear()
    parse_model.forget()


def _owner(module: ModuleType, name: str) -> tuple[Any, str]:
    """Split ``Class.method`` into the class and the method's name; a plain name belongs to the module."""
    scope, _, attribute = name.rpartition(".")
    return (getattr(module, scope) if scope else module), attribute


def _replace(owner: Any, attribute: str, old: Callable[..., Any], new: Callable[..., Any]) -> None:
    setattr(owner, attribute, new)
    if not isinstance(owner, ModuleType):
        return
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == "ultralytics" and vars(module).get(attribute) is old:
            setattr(module, attribute, new)
