"""An experiment written down: the words of ``yolo-attn compare`` as a YAML file."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from ..errors import ArgumentError
from ..messages import nearest


def read(path: str | Path, known: Iterable[str]) -> dict[str, Any]:
    """Return the words of an experiment file.

    ::

        base: yolo11n.yaml
        models: [yolo11n-ema.yaml, yolo11n-gsop.yaml]
        data: bccd.yaml
        seeds: 0-4
        control: repeat
        epochs: 100     # and any other word of `yolo train`

    Args:
        path: The file.
        known: The words that are allowed.

    Raises:
        ArgumentError: If there is no such file, it is no mapping, or a word is unknown (names the nearest).
    """
    path, known = Path(path), list(known)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ArgumentError(
            f"experiment {path} does not exist; give a YAML file, or base=, models= and data="
        ) from None
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ArgumentError(f"experiment {path} cannot be read: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise ArgumentError(f"experiment {path} holds no words; write lines such as 'base: yolo11n.yaml'")
    for word in content:
        if str(word) not in known:
            hint = nearest(str(word), known) or f" Words: {', '.join(known)}"
            raise ArgumentError(f"experiment {path}: unknown word {str(word)!r}.{hint}")
    return {str(word): value for word, value in content.items() if value is not None}
