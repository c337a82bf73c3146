"""Wording that messages share: the nearest known name, plurals and joined lists."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from unicodedata import category

_SIMILAR, _ALMOST = 0.78, 0.9  # the least similarity of two names that begin with the same letter, and of others
_COMMON = re.compile("attention|attn|att|module|block|layer")  # says nothing about which layer a name means
_SIMILAR_REST = 0.6  # without these words


def nearest(name: str, known: Iterable[str]) -> str:
    """Return `` Did you mean 'x'?`` for the known name that ``name`` probably misspells, or an empty string.

    Upper and lower case count as the same. Silence is better than a wrong suggestion: two names must share most of
    their letters, also without common words such as ``attention``.
    """
    best = max(known, key=lambda k: (_similarity(name, k), difflib.SequenceMatcher(None, k, name).ratio()), default="")
    return f" Did you mean {best!r}?" if _similarity(name, best) else ""


def _similarity(name: str, known: str) -> float:
    """Return how similar two names are, up to 1; 0 if one does not misspell the other."""
    a, b = name.casefold(), known.casefold()
    if a == b or (len(a) > 2 and sorted(a) == sorted(b)):  # 'PMSF' for 'PMFS'
        return 1.0
    rest_a, rest_b = _COMMON.sub("", a), _COMMON.sub("", b)
    if min(len(rest_a), len(rest_b)) > 1 and difflib.SequenceMatcher(None, rest_b, rest_a).ratio() < _SIMILAR_REST:
        return 0.0
    ratio = difflib.SequenceMatcher(None, b, a).ratio()
    return ratio if ratio >= (_SIMILAR if a[:1] == b[:1] else _ALMOST) else 0.0


def is_text(text: str) -> bool:
    """Return whether a text can be written to a file. Names of files that are not UTF-8 cannot."""
    return not any(category(c) == "Cs" for c in text)


def printable(text: str) -> str:
    """Return a text that every terminal and file takes: control characters and lone surrogates become escapes."""
    return "".join(c.encode("unicode_escape").decode() if category(c) in ("Cc", "Cs") else c for c in text)


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
