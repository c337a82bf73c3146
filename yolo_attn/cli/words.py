"""``word=value`` arguments, as ``yolo`` takes them; ``--word value`` is understood too."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ..errors import ArgumentError
from ..messages import nearest


def parse(words: Sequence[str], known: Iterable[str], *, flags: Iterable[str] = ()) -> dict[str, str]:
    """Return the words and their values, unconverted.

    Args:
        words: ``imgsz=320``, or ``--imgsz 320`` with all values up to the next ``--word`` joined by commas.
        known: The words that are allowed.
        flags: Those among them that may stand without a value, which is then ``True``.

    Raises:
        ArgumentError: For an unknown word (names the nearest), one without a value, or one given twice.
    """
    known, flags = list(known), set(flags)
    pairs: list[tuple[str, list[str]]] = []
    takes_more = False  # the last word was --word without '='
    for word in words:
        name, equals, value = word.removeprefix("--").partition("=")
        name = name.replace("-", "_")
        if word.startswith("--"):
            pairs.append((name, [value] if equals else []))
            takes_more = not equals
        elif equals and name.isidentifier():
            pairs.append((name, [value]))
            takes_more = False
        elif takes_more:
            pairs[-1][1].append(word)
        elif word in flags:
            pairs.append((word, []))
        else:
            raise ArgumentError(f"{word!r} is not of the form word=value.{nearest(word, known)}")
    out: dict[str, str] = {}
    for name, values in pairs:
        if name not in known:
            hint = nearest(name, known) or f" Words: {', '.join(known)}"
            raise ArgumentError(f"unknown word {name!r}.{hint}")
        if not values and name not in flags:
            raise ArgumentError(f"word {name!r} has no value; write {name}=...")
        if name in out:
            raise ArgumentError(f"word {name!r} is given twice")
        out[name] = ",".join(values) if values else "True"
    return out


def with_paths(
    words: Sequence[str], known: Iterable[str], *, flags: Iterable[str] = (), short: Mapping[str, str] | None = None
) -> tuple[list[str], dict[str, str]]:
    """Return the paths among the words, in order, and the words with their values, unconverted.

    Args:
        words: Paths; ``map=6=7``, ``--map 6=7`` or ``--map=6=7``; here a word takes one value.
        known: The words that are allowed.
        flags: Those among them that stand without a value (``--force``).
        short: Letters for words: ``{"o": "output"}`` lets ``-o OUT`` be ``--output OUT``.

    Raises:
        ArgumentError: For an unknown word (names the nearest), one without a value, or one given twice.
    """
    known, flags, short = list(known), set(flags), dict(short or {})
    paths: list[str] = []
    out: dict[str, str] = {}
    queue = list(words)
    while queue:
        word = queue.pop(0)
        name, equals, value = word.lstrip("-").partition("=")
        name = short.get(name, name) if word.startswith("-") else name
        if not word.startswith("-") and not (equals and name in known):
            if equals and name.isidentifier():
                raise ArgumentError(f"unknown word {name!r}.{nearest(name, known) or f' Words: {_dashed(known)}'}")
            paths.append(word)
            continue
        if name not in known:
            raise ArgumentError(f"unknown word {word!r}.{nearest(name, known) or f' Words: {_dashed(known)}'}")
        if name in out:
            raise ArgumentError(f"word {name!r} is given twice")
        if name in flags:
            if value not in ("", "True", "False"):
                raise ArgumentError(f"word {name!r} takes no value, got {value!r}")
            out[name] = value or "True"
            continue
        if not equals and queue:
            value = queue.pop(0)
        if not value:
            raise ArgumentError(f"word {word!r} has no value")
        out[name] = value
    return paths, out


def _dashed(known: Iterable[str]) -> str:
    return ", ".join(f"--{word}" for word in known)
