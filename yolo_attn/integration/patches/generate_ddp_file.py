"""``ultralytics.utils.dist.generate_ddp_file``: the file that the processes of a multi-GPU training run.

With the start-up hook these processes know the layers. Without it (switched off, or layers registered by the user's
own script) the file has to import them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ...errors import LayerError
from ...messages import joined
from ..queries import layer_types, model_graph
from ..strict_mode import is_strict


def check_importable(trainer: Any) -> None:
    """Raise a LayerError if the model has a layer that only the running script defines.

    The first process could not even save it: its ``__main__`` is Ultralytics' file.
    """
    model = trainer.model
    if hasattr(model, "modules"):
        classes = {type(module) for module in model.modules()}
    else:
        named = layer_types.names_in(model_graph.load(model)) if str(model).endswith((".yaml", ".yml")) else []
        classes = {spec.cls for name, spec in layer_types.installed().items() if name in named}
    if found := sorted(c.__name__ for c in classes if c.__module__ == "__main__"):
        raise LayerError(
            f"the layer {joined(found)} is defined in the script that is run, where the processes of a training on "
            "several devices cannot import it; define it in a module and import that in the script"
        )


def replacement(original: Callable[..., Any], trainer: Any, *args: Any, **kwargs: Any) -> str:
    """Import this package and the modules of all registered layers first, unless a stock model is trained."""
    check_importable(trainer)
    name: str = original(trainer, *args, **kwargs)
    known_as_stock = hasattr(trainer.model, "modules") and not layer_types.has_ours(trainer.model)
    if known_as_stock and not is_strict():
        return name
    file = Path(name)
    modules = sorted({s.cls.__module__ for s in layer_types.installed().values()} - {"__main__"})
    ours = f"    import {', '.join(['yolo_attn', *modules])}\n    yolo_attn.install()\n"
    trainer.mistake_file = f"{name}.mistake"
    ours += "    from yolo_attn.integration.patches import trainer_train\n"
    ours += f"    trainer_train.report_to({trainer.mistake_file!r})\n"
    if is_strict():
        ours += "    from yolo_attn.integration import strict_mode\n    strict_mode.enter_strict_mode()\n"
    text = file.read_text(encoding="utf-8")
    if "sys.path" not in text:  # earlier versions do not hand sys.path to the new process
        ours = f"    import sys\n    sys.path[:] = {sys.path!r}\n{ours}"
    # Insert before the first import of the guarded part, which stands after a line that may set sys.path.
    head, found, tail = text.partition("    from ")
    file.write_text(head + ours + found + tail if found else text, encoding="utf-8")
    return name
