"""Align two lists of layers: decide which layer of one model is which layer of the other.

Rows may be inserted, removed or replaced, but not reordered, so this is a sequence alignment. The best alignment
maximises, in this order of priority:

1. the number of weight tensors that fit (same name within the layer, same shape);
2. the number of tensors of any kind that fit, and the similarity of the paired rows (type, arguments, set of tensors);
3. the number of paired rows that read the same layers. A layer without a partner is transparent: a row that reads it
   counts as reading its inputs, so an inserted row changes nothing for its consumers.

If two alignments are equally good and send a tensor to different layers, the result reports the ambiguity.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from ..errors import ArgumentError
from ..messages import joined

IMAGE = -1  # input of the first layer
_WEIGHT, _TENSOR, _PIN = 1 << 40, 1 << 20, 1 << 60  # one sum holds 1 and 2; no part reaches the next
_NOTHING: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Layer:
    """One row of a model, without the module.

    Attributes:
        kind: Name of the layer's class.
        family: Names of that class and its base classes, without torch's.
        reads: Numbers of its input layers, in order; -1 is the image.
        row: Repeats and arguments as in the model YAML; None if unknown.
        tensors: Shape of each parameter and buffer, by its name within the layer.
    """

    kind: str
    family: frozenset[str]
    reads: tuple[int, ...]
    row: str | None = None
    tensors: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    def fitting(self, other: Layer) -> list[str]:
        """Return the names of the tensors that both layers have in the same shape."""
        return [name for name, shape in self.tensors.items() if other.tensors.get(name) == shape]

    def weights_fitting(self, other: Layer) -> int:
        """Return how many of them hold more than one number (a norm's batch counter fits anywhere)."""
        return sum(bool(self.tensors[name]) for name in self.fitting(other))


@dataclass(frozen=True)
class Alignment:
    """The pairs of layers of a source and a target.

    Attributes:
        source: The layers of the source.
        target: The layers of the target.
        pairs: Source layer's number -> target layer's number, for the layers that have a partner.
        ambiguity: The ambiguity, as a clause that names the candidates; None if there is none.
        pin: A pair ``source=target`` that resolves it.
    """

    source: Sequence[Layer]
    target: Sequence[Layer]
    pairs: Mapping[int, int]
    ambiguity: str | None = None
    pin: str | None = None

    @cached_property
    def fitting(self) -> int:
        """The number of tensors of the source that fit in the partner of their layer."""
        return sum(len(self.source[i].fitting(self.target[j])) for i, j in self.pairs.items())


def align(source: Sequence[Layer], target: Sequence[Layer], pins: Mapping[int, int] | None = None) -> Alignment:
    """Align two lists of layers.

    Args:
        source: The layers that have the weights, in order.
        target: The layers that get them, in order.
        pins: Known pairs: number in the source -> number in the target.

    Returns:
        The best alignment; if several are equally good, one of them, with the ambiguity.

    Raises:
        ValueError: If a pin names a missing layer or one that shares no tensor with its partner, or if pins cross.
    """
    pins = dict(pins or {})
    _check_pins(source, target, pins)
    best = _Search(source, target, pins).best()
    missed = [f"{i}={j}" for i, j in pins.items() if best.pairs.get(i) != j]
    if missed:
        raise ValueError(f"{joined(missed)} contradicts {_as_text(pins)}: pairs must keep the order of layers")
    ambiguity, pin = (None, None) if best.rival is None else _difference(source, target, pins, best, best.rival)
    return Alignment(source, target, best.pairs, ambiguity, pin)


def parse_pins(text: str) -> dict[int, int]:
    """Return the pairs of ``6=7,8=10`` (source=target).

    Raises:
        ArgumentError: If it is not of that form.
    """
    pins: dict[int, int] = {}
    for pair in text.split(","):
        here, equals, there = (part.strip() for part in pair.partition("="))
        if not (equals and here.isdecimal() and there.isdecimal()):
            raise ArgumentError(
                f"map={text} must be pairs source=target of layer numbers joined by commas, e.g. 6=7,8=10"
            )
        if int(here) in pins:
            raise ArgumentError(f"map={text} names source layer {here} twice")
        pins[int(here)] = int(there)
    return pins


def by_number(source: Sequence[Layer], target: Sequence[Layer]) -> Alignment:
    """Pair each layer with the layer of its number, as Ultralytics' own loading does."""
    return Alignment(source, target, {k: k for k in range(min(len(source), len(target)))})


def class_branch(source: Layer, target: Layer, there: int, here: int) -> frozenset[str]:
    """Return the parts of a head that depend on its number of classes: first components of tensor names.

    Args:
        source: The head that has the weights.
        target: The head that gets them.
        there: Number of classes of the source.
        here: Number of classes of the target. If both are equal, the result is empty.
    """
    return frozenset(
        name.partition(".")[0]
        for name, shape in source.tensors.items()
        if there != here and shape[:1] == (there,) and target.tensors.get(name, ())[:1] == (here,)
    )


def _check_pins(source: Sequence[Layer], target: Sequence[Layer], pins: Mapping[int, int]) -> None:
    for i, j in pins.items():
        for what, number, layers in (("source", i, source), ("target", j, target)):
            if not 0 <= number < len(layers):
                raise ValueError(f"{i}={j}: the {what} has no layer {number}; it has 0 to {len(layers) - 1}")
        if not source[i].fitting(target[j]) and source[i].kind != target[j].kind:
            raise ValueError(
                f"{i}={j}: source layer {i} ({source[i].kind}) and layer {j} ({target[j].kind}) share no tensor"
            )
    if len(set(pins.values())) < len(pins):
        raise ValueError(f"{_as_text(pins)}: a layer is given twice")


def _as_text(pins: Mapping[int, int]) -> str:
    return ",".join(f"{i}={j}" for i, j in pins.items())


@dataclass(frozen=True)
class _Found:
    """A best alignment, its worth, and a rival: one that is as good but sends tensors to other layers."""

    worth: tuple[int, int]
    pairs: dict[int, int]
    rival: dict[int, int] | None


@dataclass(slots=True)
class _Partial:
    """The best alignment of the layers up to a point, among those that later rows cannot distinguish."""

    references: int
    pairs: tuple[tuple[int, int], ...]
    carriers: tuple[tuple[int, int], ...]  # the pairs among them that share weights
    rival: tuple[tuple[int, int], ...] | None  # carriers of another alignment that is as good


# The anchors (source layers) of each earlier layer that later rows can still read.
_Anchors = tuple[tuple[int, frozenset[int]], ...]
_State = tuple[_Anchors, _Anchors]


class _Search:
    """Dynamic programming in two passes: by what the pairs share, then by references among the best alignments."""

    def __init__(self, source: Sequence[Layer], target: Sequence[Layer], pins: Mapping[int, int]) -> None:
        self.source, self.target = source, target
        self.worth = {
            (i, j): worth
            for i, a in enumerate(source)
            for j, b in enumerate(target)
            if (worth := _worth(a, b, i, j, pins)) is not None
        }
        self.last_reader = (_last_readers(source), _last_readers(target))

    def best(self) -> _Found:
        n, m = len(self.source), len(self.target)
        ahead = self._totals()
        states: dict[tuple[int, int], dict[_State, _Partial]] = {(0, 0): {((), ()): _Partial(0, (), (), None)}}
        for at in itertools.product(range(n + 1), range(m + 1)):
            if at == (n, m) or at not in states:
                continue
            here = states.pop(at)
            for to in self._optimal_steps(*at, ahead):
                there = states.setdefault(to, {})
                for state, partial in here.items():
                    self._step(there, state, partial, at, to)
        (end,) = states[n, m].values()
        rival = None if end.rival is None else dict(end.rival)
        return _Found((ahead[0][0], end.references), dict(end.pairs), rival)

    def _totals(self) -> list[list[int]]:
        """Return the best sum for the layers from ``(i, j)`` on."""
        n, m = len(self.source), len(self.target)
        ahead = [[0] * (m + 1) for _ in range(n + 1)]
        for i in range(n - 1, -1, -1):
            for j in range(m - 1, -1, -1):
                both = ahead[i + 1][j + 1] + self.worth[i, j] if (i, j) in self.worth else 0
                ahead[i][j] = max(ahead[i + 1][j], ahead[i][j + 1], both)
        return ahead

    def _optimal_steps(self, i: int, j: int, ahead: list[list[int]]) -> Iterator[tuple[int, int]]:
        n, m = len(self.source), len(self.target)
        if (i, j) in self.worth and ahead[i + 1][j + 1] + self.worth[i, j] == ahead[i][j]:
            yield i + 1, j + 1
        if i < n and ahead[i + 1][j] == ahead[i][j]:
            yield i + 1, j
        if j < m and ahead[i][j + 1] == ahead[i][j]:
            yield i, j + 1

    def _step(
        self, there: dict[_State, _Partial], state: _State, old: _Partial, at: tuple[int, int], to: tuple[int, int]
    ) -> None:
        (i, j), (next_i, next_j) = at, to
        of_source, of_target = dict(state[0]), dict(state[1])
        references, pairs, carriers = old.references, old.pairs, old.carriers
        if next_i > i and next_j > j:
            references += _agreement(
                [_anchors(of_source, k) for k in self.source[i].reads],
                [_anchors(of_target, k) for k in self.target[j].reads],
            )
            of_source[i] = of_target[j] = frozenset((i,))
            pairs = (*pairs, (i, j))
            if self.worth[i, j] >= _WEIGHT:
                carriers = (*carriers, (i, j))
        elif next_i > i:
            of_source[i] = _NOTHING.union(*(_anchors(of_source, k) for k in self.source[i].reads))
        else:
            of_target[j] = _NOTHING.union(*(_anchors(of_target, k) for k in self.target[j].reads))
        key = self._still_read(of_source, 0, next_i), self._still_read(of_target, 1, next_j)
        new = _Partial(references, pairs, carriers, old.rival)
        there[key] = _better(there[key], new) if key in there else new

    def _still_read(self, anchors: Mapping[int, frozenset[int]], side: int, position: int) -> _Anchors:
        last = self.last_reader[side]
        return tuple(sorted((k, v) for k, v in anchors.items() if last.get(k, -1) >= position))


def _worth(a: Layer, b: Layer, i: int, j: int, pins: Mapping[int, int]) -> int | None:
    """Return the worth of a pair; None for layers that cannot be the same."""
    pinned = pins.get(i) == j
    if not pinned and (i in pins or j in pins.values()):
        return None
    fitting = a.fitting(b)
    same = a.kind == b.kind
    if not (pinned or same or (fitting and a.family & b.family)):
        return None
    likeness = (4 if same else 2) + (a.row is not None and a.row == b.row) + (dict(a.tensors) == dict(b.tensors))
    return pinned * _PIN + a.weights_fitting(b) * _WEIGHT + len(fitting) * _TENSOR + likeness


def _last_readers(layers: Sequence[Layer]) -> dict[int, int]:
    return {k: j for j, layer in enumerate(layers) for k in layer.reads}


def _anchors(known: Mapping[int, frozenset[int]], layer: int) -> frozenset[int]:
    return known.get(layer, frozenset((IMAGE,)))


def _agreement(source: list[frozenset[int]], target: list[frozenset[int]]) -> int:
    """Score the inputs that two rows share: 2 for equal inputs, 1 where one is part of the other."""
    if len(source) != len(target):
        return 2 * (Counter(source) & Counter(target)).total()
    return sum(2 if a == b else a <= b or b <= a for a, b in zip(source, target, strict=True))


def _better(old: _Partial, new: _Partial) -> _Partial:
    if old.references != new.references:
        return old if old.references > new.references else new
    rival = new.carriers if old.carriers != new.carriers else new.rival if old.rival is None else old.rival
    return replace(old, rival=rival)


def _difference(
    source: Sequence[Layer], target: Sequence[Layer], pins: Mapping[int, int], best: _Found, rival: Mapping[int, int]
) -> tuple[str, str]:
    """Name the first layer with several candidates, and a pair that resolves it."""
    carried = {i: j for i, j in best.pairs.items() if source[i].weights_fitting(target[j])}
    first = min(i for i in {*carried, *rival} if carried.get(i) != rival.get(i))

    def as_good(i: int, j: int) -> bool:
        """Return whether the best alignment with this pair is worth as much."""
        if i in pins or j in pins.values() or _worth(source[i], target[j], i, j, pins) is None:
            return False
        total, references = _Search(source, target, {**pins, i: j}).best().worth
        return (total - _PIN, references) == best.worth

    if first in carried and first in rival:
        found = [j for j in range(len(target)) if as_good(first, j)]
        where = " or ".join(map(str, found))
        return f"source layer {first} ({source[first].kind}) could be layer {where}", f"{first}={found[0]}"
    place = carried.get(first, rival.get(first, 0))
    found = [i for i in range(len(source)) if as_good(i, place)]
    which = " or ".join(map(str, found))
    return f"layer {place} ({target[place].kind}) could be source layer {which}", f"{found[0]}={place}"
