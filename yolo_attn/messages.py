"""Wording that messages share: the nearest known name, plurals and joined lists."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(name: str, known: Iterable[str]) -> str:
    """Return `` Did you mean 'x'?`` for the most similar known name, the first of equals, or an empty string."""
    known = list(known)
    for spelled, least in ((str, 0.5), (str.casefold, 0.6)):  # the second finds 'GSoP' for 'gsop'
        similar = {k: difflib.SequenceMatcher(None, spelled(k), spelled(name)).ratio() for k in known}
        best = max(similar, key=similar.__getitem__, default="")
        if similar.get(best, 0) >= least:
            return f" Did you mean {best!r}?"
    return ""


def counted(number: int, thing: str, things: str | None = None) -> str:
    """Return ``1 seed`` or ``2 seeds``; ``things`` is an irregular plural, such as ``boxes``."""
    return f"{number:,} {thing if number == 1 else things or f'{thing}s'}"


def joined(things: Iterable[object], last: str = ", ", most: int | None = None) -> str:
    """Return ``a, b, c``; with ``last=" and "`` ``a, b and c``.

    Args:
        things: What to list, each as its text.
        last: What stands before the last one.
        most: With more things than this, list the first ``most`` and say how many more there are.
    """
    texts = [str(thing) for thing in things]
    if most is not None and len(texts) > most:
        return f"{', '.join(texts[:most])} and {len(texts) - most} more"
    return last.join([", ".join(texts[:-1]), texts[-1]]) if len(texts) > 1 else "".join(texts)
