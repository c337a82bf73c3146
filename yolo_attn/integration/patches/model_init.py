"""``__init__`` of Ultralytics' models: say why a model cannot be built; warn of probable mistakes in one that can."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from ...errors import LayerError
from ..queries import layer_types, model_findings, ultralytics_versions
from ..strict_mode import is_strict

_said: set[tuple[str, ...]] = set()  # warnings are printed once per process and model


def replacement(original: Callable[..., Any], self: Any, *args: Any, **kwargs: Any) -> None:
    """Build a model. Raise one LayerError if its rows do not fit each other; otherwise warn of probable mistakes."""
    try:
        original(self, *args, **kwargs)
    except Exception as error:
        if isinstance(error, LayerError) or _is_for_us(self):
            _explain(_content(self), error)
        raise
    if _is_for_us(self) and "LOCAL_RANK" not in os.environ:  # the processes of a multi-GPU training repeat the first
        _warn(_content(self))
        if layer_types.names_any(_content(self)):
            ultralytics_versions.warn_if_newer()


def _content(model: Any) -> dict[str, Any]:
    found = getattr(model, "yaml", None)
    return found if isinstance(found, dict) else {}


def _is_for_us(model: Any) -> bool:
    content = _content(model)
    return bool(content) and (is_strict() or layer_types.names_any(content))


def _explain(content: dict[str, Any], error: Exception) -> None:
    """Raise a LayerError that names file, line and layer, if the model YAML is the reason of ``error``."""
    source = _source(content)
    if isinstance(error, LayerError):
        if source is None:
            return
        raise type(error)(model_findings.with_line(str(error), source)) from error
    try:
        model_findings.build(content, "", source)
    except LayerError as reason:
        raise reason from error


def _warn(content: dict[str, Any]) -> None:
    from ultralytics.utils import LOGGER

    source = _source(content)
    if source is None or (key := (str(source.file), str(content.get("scale")), source.text)) in _said:
        return
    _said.add(key)
    if {**source.content}.get("backbone") != content["backbone"] or {**source.content}.get("head") != content["head"]:
        return  # the model has other rows than its file, e.g. one that was changed after the training
    graph = model_findings.build(content, "", source)
    for finding in model_findings.of_graph(graph, content, source):
        LOGGER.warning(f"{source.file.name}, {model_findings.sentence(finding, graph)}")


def _source(content: dict[str, Any]) -> model_findings.Source | None:
    """Return the file that a model was built from, if it is still there."""
    name = content.get("yaml_file")
    try:
        return model_findings.source_of(name) if name else None
    except LayerError:
        return None
