"""Find top-level keys of a model YAML that Ultralytics ignores. Each rule is a function that yields findings."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ...messages import nearest
from . import model_graph
from .lint import Finding

# What the tested versions of Ultralytics read.
READ = (
    "nc", "scales", "backbone", "head", "activation", "depth_multiple", "width_multiple", "kpt_shape", "reg_max",
    "end2end", "text_model", "inplace",
)  # fmt: skip
_INSTEAD = {  # a key that people write -> what to write instead
    "anchors": "the heads of Ultralytics have no anchors; delete it",
    "names": "the class names are those of the data YAML; delete it",
    "task": "the task follows from the head, the last layer; delete it",
    "max_channels": "it is the third number of an entry of 'scales'",
}
_CHANNELS = "the number of image channels is that of the data YAML; write 'channels: {}' there"


def ignored_keys(content: Mapping[str, Any], lines: Mapping[str, int], stem: str) -> Iterator[Finding]:
    """Find keys without effect.

    Args:
        content: The content of the file.
        lines: The line of each key.
        stem: The name of the file without its suffix.
    """
    for key, value in content.items():
        if key in READ or (why := _why_ignored(str(key), value, content, stem)) == "":
            continue
        yield Finding(
            f"Ultralytics ignores {f'{key}: {value}' if _is_short(value) else f'{key!r}'}; {why}", line=lines.get(key)
        )


def unscaled(content: Mapping[str, Any], lines: Mapping[str, int]) -> Iterator[Finding]:
    """Find ``scales`` without entries: the model is then built without scaling, ten times as large as scale n."""
    if "scales" in content and not content["scales"]:
        yield Finding(
            "'scales' has no entries, so the model is built with full depth and width. Indent the entries below it, "
            "e.g. '  n: [0.50, 0.25, 1024]', or delete the key",
            line=lines.get("scales"),
        )


def _why_ignored(key: str, value: Any, content: Mapping[str, Any], stem: str) -> str:
    """Return what to write instead of a key that Ultralytics does not read; empty if this version reads it."""
    if key == "scale":
        if not content.get("scales"):
            return "the model has no 'scales'; delete it"
        renamed = re.sub(r"^(yolo(?:e-)?v?\d+)[nslmx]?(?=-|$)", rf"\g<1>{value}", stem)
        as_name = f", e.g. model={renamed}.yaml" if renamed != stem else ""
        return f"the scale is the letter in the model's name{as_name}. The file keeps its name"
    if key in model_graph.IMAGE_CHANNELS:
        return "" if model_graph.reads_image_channels(key) else _CHANNELS.format(value)
    if key in _INSTEAD:
        return _INSTEAD[key]
    return f"it is no key of a model YAML.{nearest(key, READ)}"


def _is_short(value: Any) -> bool:
    return isinstance(value, str | int | float) and len(str(value)) < 30
