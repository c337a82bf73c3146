"""The words of commands about one model YAML: ``yolo-attn check model.yaml --strict``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..errors import ArgumentError
from . import words


def parse(
    given: Sequence[str], known: Iterable[str], *, flags: Iterable[str], usage: str
) -> tuple[str, dict[str, str]]:
    """Return the model, given bare or as ``model=``, and the other words with their values.

    Args:
        given: The command's words; ``-o`` is short for ``--output``.
        known: The words that are allowed, but for ``model``.
        flags: Those among them without a value.
        usage: An example, for messages.

    Raises:
        ArgumentError: For an unknown word, one without a value, one given twice, no model or several.
    """
    models, pairs = words.with_paths(given, ["model", *known], flags=flags, short={"o": "output"})
    models += [pairs.pop("model")] if "model" in pairs else []
    if len(models) != 1:
        raise ArgumentError(
            f"{'one model, not ' + ' and '.join(models) if models else 'which model?'}; write e.g. {usage}"
        )
    return models[0], pairs
