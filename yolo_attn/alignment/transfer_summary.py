"""Describe in one line which of a source's tensors were transferred to a model."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..messages import joined


@dataclass(frozen=True)
class Part:
    """Tensors of one layer with the same outcome.

    Attributes:
        count: Number of tensors.
        layer: The layer's number.
        kind: The layer's class.
        why: The outcome as a clause that follows the layer, or names it by ``{where}``; empty if the heading says it.
    """

    count: int
    layer: int
    kind: str
    why: str = ""


@dataclass(frozen=True)
class Outcome:
    """The outcome of a transfer.

    Attributes:
        tensors: Number of tensors of the source.
        transferred: Number of those that were copied exactly.
        in_part: Tensors of the source of which some rows or channels were copied.
        unused: Tensors of the source that were not copied.
        new: Tensors of the model that did not come from the source entirely.
        since: The source from which the source itself got its weights; empty if there is none.
        newer: Tensors that were new in the source, relative to ``since``.
    """

    tensors: int
    transferred: int
    in_part: Sequence[Part] = ()
    unused: Sequence[Part] = ()
    new: Sequence[Part] = ()
    since: str = ""
    newer: Sequence[Part] = ()


def line(outcome: Outcome) -> str:
    """Format the outcome as one line.

    ``transferred 499/499 tensors of the source (100 %); new: 18 tensors in layers 17, 21, 25 (EMA)``
    """
    share = 100 * outcome.transferred / outcome.tensors if outcome.tensors else 0.0
    percent = "100" if outcome.transferred == outcome.tensors else f"{min(share, 99.9):.1f}"
    headed = {
        f"of these, new since {outcome.since}": outcome.newer,
        "in part": outcome.in_part,
        "not used": outcome.unused,
        "new": outcome.new,
    }
    clauses = [f"{heading}: {_list(parts)}" for heading, parts in headed.items() if parts]
    count = f"transferred {outcome.transferred}/{outcome.tensors} tensors of the source ({percent} %)"
    return "; ".join([count, *clauses])


def layers(numbers: Iterable[int]) -> str:
    """Return ``layer 4``, ``layers 4, 6``, ``layers 0 to 3, 6``."""
    ordered = sorted(set(numbers))
    listed: list[object] = []
    for _, run in itertools.groupby(enumerate(ordered), lambda pair: pair[1] - pair[0]):  # of consecutive numbers
        found = [number for _, number in run]
        listed += [f"{found[0]} to {found[-1]}"] if len(found) > 2 else found
    return f"layer{'s' if len(ordered) > 1 else ''} {joined(listed)}"


def _list(parts: Sequence[Part]) -> str:
    """Join the parts by kind and reason; the first names the unit, ``tensors``."""
    groups: dict[tuple[str, str], list[Part]] = {}
    for part in parts:
        groups.setdefault((part.kind, part.why), []).append(part)
    clauses: list[str] = []
    for (kind, why), members in groups.items():
        count = sum(p.count for p in members)
        unit = "" if clauses else f" tensor{'s' if count != 1 else ''}"
        where = layers(p.layer for p in members)
        clauses.append(f"{count}{unit} in {why.format(where=where) if '{where}' in why else f'{where} ({kind}){why}'}")
    return joined(clauses)
