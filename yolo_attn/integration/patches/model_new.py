"""``ultralytics.engine.model.Model._new``: say why a model YAML has no task."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...errors import LayerError
from ..queries import layer_types, model_findings
from ..strict_mode import is_strict


def replacement(original: Callable[..., Any], self: Any, cfg: Any, *args: Any, **kwargs: Any) -> None:
    """Build a model from its YAML. Ultralytics guesses the task from the last layer, the head."""
    try:
        original(self, cfg, *args, **kwargs)
    except NotImplementedError as error:
        source = model_findings.source_of(cfg)
        if not is_strict() and not layer_types.names_any(source.content):
            raise
        rows = [*source.content["backbone"], *source.content["head"]]
        model_findings.build(dict(source.content), "", source)
        what = "is the last layer and no head; end with a row such as [[15, 18, 21], 1, Detect, [nc]]"
        if "RTDETR" in rows[-1][2]:
            what = (
                f"is the head of RT-DETR, not of YOLO; in Python, write RTDETR({str(cfg)!r}); yolo and yolo-attn build "
                "RT-DETR for a file whose name has 'rtdetr' in it"
            )
        raise LayerError(
            f"{source.file.name}, line {source.rows[-1]}: layer {len(rows) - 1} ({rows[-1][2]}) {what}"
        ) from error
