"""What of a source's weights arrived in a model, as one line."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Part:
    """Some tensors of one layer that fared alike.

    Attributes:
        count: How many.
        layer: The layer's number.
        kind: The layer's class.
        why: What happened to them: a clause that goes behind the layer or has it as ``{where}``; empty where the
            heading says it.
    """

    count: int
    layer: int
    kind: str
    why: str = ""


@dataclass(frozen=True)
class Outcome:
    """What became of a source's weights.

    Attributes:
        tensors: Number of tensors of the source.
        transferred: How many of them the model has now, bit for bit.
        in_part: Tensors of the source of which the model has some rows or channels.
        unused: Tensors of the source that it has not.
        new: Tensors of the model that did not come from the source, wholly.
        since: Where the source itself had got weights from, and what was new there; empty if it is a source in its
            own right.
    """

    tensors: int
    transferred: int
    in_part: Sequence[Part] = ()
    unused: Sequence[Part] = ()
    new: Sequence[Part] = ()
    since: str = ""
    newer: Sequence[Part] = field(default=())


def line(outcome: Outcome) -> str:
    """Return the outcome as one line.

    ``transferred 499/499 tensors of the source (100 %); new: 18 tensors in layers 17, 21, 25 (EMA)``
    """
    share = 100 * outcome.transferred / outcome.tensors if outcome.tensors else 0.0
    exact = outcome.transferred == outcome.tensors
    percent = "100" if exact else f"{min(share, 99.9):.1f}"
    said = [f"transferred {outcome.transferred}/{outcome.tensors} tensors of the source ({percent} %)"]
    if outcome.newer:
        said.append(f"of these new since {outcome.since}: {_list(outcome.newer)}")
    for heading, parts in (("in part", outcome.in_part), ("not used", outcome.unused), ("new", outcome.new)):
        if parts:
            said.append(f"{heading}: {_list(parts)}")
    return "; ".join(said)


def layers(numbers: Iterable[int]) -> str:
    """Return ``layer 4``, ``layers 4, 6``, ``layers 0 to 3, 6``."""
    runs: list[list[int]] = []
    for number in sorted(set(numbers)):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    words = [w for run in runs for w in ([f"{run[0]} to {run[-1]}"] if len(run) > 2 else map(str, run))]
    return f"layer{'s' if sum(map(len, runs)) > 1 else ''} {', '.join(words)}"


def _list(parts: Sequence[Part]) -> str:
    """Join parts of one kind and one reason; the first says ``tensors``."""
    groups: dict[tuple[str, str], list[Part]] = {}
    for part in parts:
        groups.setdefault((part.kind, part.why), []).append(part)
    said: list[str] = []
    for (kind, why), members in groups.items():
        count = sum(p.count for p in members)
        unit = "" if said else f" tensor{'s' if count != 1 else ''}"
        where = layers(p.layer for p in members)
        said.append(f"{count}{unit} in {why.format(where=where) if '{where}' in why else f'{where} ({kind}){why}'}")
    return ", ".join(said)
