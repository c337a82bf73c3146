"""Wording that messages share: the nearest known name, plurals and joined lists."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(name: str, known: Iterable[str]) -> str:
    """Return `` Did you mean 'x'?`` for the most similar known name, or an empty string."""
    known = list(known)
    found = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    if not found:  # 'gsop' for 'GSoP'
        folded = {k.casefold(): k for k in known}
        found = [folded[m] for m in difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.6)]
    return f" Did you mean {found[0]!r}?" if found else ""


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
