"""Which functions of Ultralytics are wrapped, and putting the wrappers in and taking them out.

A function that other modules of Ultralytics have already imported by name is replaced there too.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

from ..queries import checkpoints, data_sets, yaml_files
from ..weights import loading
from . import check_dict_alignment, generate_ddp_file, parse_model, trainer

Wrap = Callable[[Callable[..., Any]], Callable[..., Any]]

# module -> name in it -> what makes the wrapper of the original
WRAPPERS: dict[str, dict[str, Wrap]] = {
    "ultralytics.nn.tasks": {
        "parse_model": parse_model.extended,
        "torch_safe_load": checkpoints.guarded,
        "yaml_model_load": yaml_files.explaining_what_is_no_model,
        "BaseModel.load": loading.following_layers,
    },
    "ultralytics.cfg": {"check_dict_alignment": check_dict_alignment.knowing_ours},
    "ultralytics.engine.model": {"Model.load": trainer.told_how_to_load, "Model.train": trainer.loading_as_told},
    "ultralytics.engine.trainer": {
        "BaseTrainer.setup_model": trainer.prepared,
        "BaseTrainer.build_optimizer": trainer.with_groups_of_new_parameters,
        "BaseTrainer.save_model": trainer.saying_it_was_trained,
    },
    "ultralytics.utils.checks": {"check_file": yaml_files.searching_ours_too},
    "ultralytics.utils.dist": {"generate_ddp_file": generate_ddp_file.importing_ours},
    "ultralytics.data.utils": {"check_det_dataset": data_sets.explaining_what_is_missing},
    "ultralytics.models.yolo.detect.train": {"DetectionTrainer.build_dataset": data_sets.vetted_for_training},
    "ultralytics.models.yolo.detect.val": {"DetectionValidator.init_metrics": data_sets.vetted_for_validation},
}

_done: dict[tuple[str, str], tuple[Callable[..., Any], Callable[..., Any]]] = {}  # (module, name): original, wrapper


def apply(module: ModuleType, fresh: bool = False) -> None:
    """Wrap what ``WRAPPERS`` lists for ``module``; a name that this version does not have is left out.

    Args:
        module: One of Ultralytics' modules.
        fresh: Its code has just been run, maybe once more (``importlib.reload``): nothing in it is wrapped.
    """
    for name, wrap in WRAPPERS[module.__name__].items():
        owner, attribute = _owner(module, name)
        original = getattr(owner, attribute, None)
        if original is None or (not fresh and (module.__name__, name) in _done):
            continue
        wrapper = wrap(original)
        _done[module.__name__, name] = original, wrapper
        _replace(owner, attribute, original, wrapper)


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
