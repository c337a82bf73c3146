"""Which versions of Ultralytics are tested, and which one first has what a model YAML uses."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from ...errors import LayerError
from ...messages import joined
from . import layer_types

# The ends of the list [tool.yolo-attn.tested] in pyproject.toml, which a wheel does not have; a test compares them.
OLDEST, NEWEST = "8.3.0", "8.4.190"
SUPPORTED = f"{OLDEST} to {NEWEST}"

# What a row may name -> the first version with it. Layer types of 8.3.0 are not listed.
LAYERS = {
    "TorchVision": "8.3.59", "Index": "8.3.59", "A2C2f": "8.3.78", "YOLOEDetect": "8.3.99", "YOLOESegment": "8.3.99",
    "OBB26": "8.4.0", "Pose26": "8.4.0", "Segment26": "8.4.0", "YOLOESegment26": "8.4.0", "SemanticSegment": "8.4.52",
    "Depth": "8.4.104",
}  # fmt: skip
# Keys that earlier versions ignore: they build another model than the file describes. With the value that they assume.
KEYS = {"end2end": ("8.4.0", False), "reg_max": ("8.4.0", 16)}
_MOST_NAMED = 4  # in a message

_warned: set[str] = set()  # versions that this process has warned of


def installed() -> str:
    """Return the version of Ultralytics that is imported."""
    import ultralytics

    return str(ultralytics.__version__)


def numbers(version: str) -> tuple[int, ...]:
    """Return the three numbers of a version, to compare versions by."""
    return tuple(map(int, re.findall(r"\d+", version)[:3]))


def warn_if_newer() -> None:
    """Log one warning in this process if the installed version is newer than all tested ones."""
    from ultralytics.utils import LOGGER

    version = installed()
    if numbers(version) <= numbers(NEWEST) or version in _warned or not LOGGER.isEnabledFor(logging.WARNING):
        return
    _warned.add(version)
    LOGGER.warning(
        f"yolo-attn is not tested with Ultralytics {version}, only with versions up to {NEWEST}; the layers were added"
    )


def check_features(d: Mapping[str, Any], table: list[list[Any]], ours: Collection[int], file: str) -> None:
    """Check that the installed version has what a model YAML uses.

    Args:
        d: The content of the file.
        table: Its rows.
        ours: The rows whose layer type is one of the registry.
        file: Its name, for the message.

    Raises:
        LayerError: If a later version is needed.
    """
    version = installed()
    used = dict([*_keys(d), *_rows(table, ours)])
    later = {what: first for what, first in used.items() if numbers(first) > numbers(version)}
    if later:
        first = max(later.values(), key=numbers)
        named = [*later][:_MOST_NAMED]
        raise LayerError(
            f"{file}: needs Ultralytics {first} or later, and {version} is installed, which does not know "
            f"{joined(named)}; update it: pip install -U ultralytics"
        )


def _keys(d: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the keys that are used, and the first version with each."""
    for key, (first, assumed) in KEYS.items():
        if d.get(key) not in (None, assumed):
            yield f"{key}: {d[key]}", first


def _rows(table: list[list[Any]], ours: Collection[int]) -> Iterator[tuple[str, str]]:
    """Yield the rows that 8.3.0 cannot build, and the first version that can."""
    for i, (_, _, name, args) in enumerate(table):
        if i in ours:
            continue
        if name in LAYERS and name not in vars(layer_types.tasks()):
            yield f"layer {i} ({name})", LAYERS[name]
        # Earlier SPPFs fail with more than [channels, kernel]. Earlier C3k2s read `attn`, the fourth, as groups.
        elif (name == "SPPF" and len(args) > 2) or (name == "C3k2" and len(args) > 3 and isinstance(args[3], bool)):
            yield f"the arguments {args} of layer {i} ({name})", "8.4.0"
