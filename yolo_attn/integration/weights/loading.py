"""Pretrained weights follow their layers: ``BaseModel.load`` that aligns the two models first.

Ultralytics matches tensors by name, and the names hold layer numbers. So its own ``load`` is handed a copy of the
source whose layers sit at the numbers that they have in the target; everything else it does (input channels, classes
by name, heads for another number of classes) works on as it is.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...alignment.layer_alignment import Alignment, Layer, align, by_number, class_branch
from ...alignment.transfer_line import Outcome, Part, line
from ...errors import CheckpointError
from ..patches.parse_model import MARKER
from ..queries import data_sets, layer_types
from . import provenance

if TYPE_CHECKING:
    import torch

ENOUGH = 0.5  # share of the tensors that must fit, else the weights are of another family or scale
FUSED = "Pretrained weights are fused for inference; train from the unfused checkpoint instead."


@dataclass(frozen=True)
class Options:
    """How weights are loaded in the current context.

    Attributes:
        partial: Load however little fits.
        partial_word: How the user says so.
        pins: Layers of the source whose layer in the target is known.
        strict: Treat stock models as those with our layers.
    """

    partial: bool = False
    partial_word: str = "partial=True"
    pins: Mapping[int, int] | None = None
    strict: bool = False


_options: ContextVar[Options | None] = ContextVar("yolo_attn_loading", default=None)
_latest: ContextVar[Outcome | None] = ContextVar("yolo_attn_outcome", default=None)


@contextmanager
def loading(**changes: Any) -> Iterator[None]:
    """Within this context weights are loaded with these :class:`Options`; one that is None stays as it is."""
    given = {k: v for k, v in changes.items() if v is not None}
    token = _options.set(replace(_options.get() or Options(), **given))
    try:
        yield
    finally:
        _options.reset(token)


def allow_partial() -> None:
    """Load however little fits, until the current :func:`loading` ends."""
    _options.set(replace(_options.get() or Options(), partial=True))


def following_layers(original: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap ``BaseModel.load``: layers get the weights of the layer that they are in the source, whatever its number."""

    @functools.wraps(original)
    def load(self: Any, weights: Any, verbose: bool = True, **kwargs: Any) -> Any:
        source = (weights.get("ema") or weights["model"]) if isinstance(weights, dict) else weights
        if not (is_list_of_layers(self) and is_list_of_layers(source)):
            return original(self, weights, verbose=verbose, **kwargs)
        found = _aligned(self, source)
        source.float()  # as the original does; it would miss the layers that have no place in the target
        there, here = describe(source), describe(self)  # of before: a head may be built again for its classes
        if found is None:
            result = original(self, weights, verbose=verbose, **kwargs)
        else:
            result = original(self, _rearranged(source, self, found), verbose=False, **kwargs)
        facts = _compare(self, source, found or by_number(there, here))
        if found is not None:
            _take_names(self, source, facts)
        outcome = _outcome(source, facts)
        provenance.record(self, source, facts.alignment.pairs, facts.new_parameters)
        _latest.set(outcome)
        if verbose and found is not None:
            say(line(outcome))
            if _is_fused(source) and not _is_fused(self):
                _warn(FUSED)
        return result

    return load


def load(target: Any, source: Any) -> Outcome:
    """Load the weights of a model into another one, without a word.

    Raises:
        CheckpointError: If too little fits, or the layers cannot be told apart.
    """
    target.load(source, verbose=False)
    outcome = _latest.get()
    assert outcome is not None, "BaseModel.load is wrapped while this package is registered"
    return outcome


@contextmanager
def watched() -> Iterator[Callable[[], str | None]]:
    """Within this context, have a function that returns the line about the last load in it, None before any."""
    token = _latest.set(None)
    try:
        yield lambda: None if (outcome := _latest.get()) is None else line(outcome)
    finally:
        _latest.reset(token)


def describe(model: Any) -> list[Layer]:
    """Return the layers of a model that was built from a model YAML."""
    yaml = getattr(model, "yaml", None) or {}
    rows = [*(yaml.get("backbone") or []), *(yaml.get("head") or [])]
    known = len(rows) == len(model.model)
    found = []
    for k, layer in enumerate(model.model):
        kind, family = _kind(layer)
        reads = [layer.f] if isinstance(layer.f, int) else list(layer.f)
        found.append(
            Layer(
                kind=kind,
                family=family,
                reads=tuple(x if x >= 0 or k == 0 else k + x for x in reads),
                row=repr((rows[k][1], rows[k][3])) if known else None,
                tensors={name: tuple(tensor.shape) for name, tensor in layer.state_dict().items()},
            )
        )
    return found


def _kind(layer: Any) -> tuple[str, frozenset[str]]:
    """Return the name of a layer's class and of those that it inherits from, without torch's."""
    if type(layer).__name__ == "Sequential" and len(layer) and len({type(part) for part in layer}) == 1:
        kind, family = _kind(layer[0])  # a row with a repeat count
        return f"{kind} stacked", frozenset(f"{name} stacked" for name in family)
    classes = [c for c in type(layer).__mro__ if c.__module__.partition(".")[0] not in ("torch", "builtins")]
    name = type(layer).__name__
    return name, frozenset({name, *(c.__name__ for c in classes)})


def is_list_of_layers(model: Any) -> bool:
    """Say whether a model was built from the rows of a model YAML."""
    from torch import nn

    rows = getattr(model, "model", None)
    return isinstance(rows, nn.Sequential) and len(rows) > 0 and all(hasattr(m, "f") for m in rows)


def _ours(model: Any) -> bool:
    return layer_types.has_ours(model) or any(hasattr(m, MARKER) for m in model.modules())


def _is_fused(model: Any) -> bool:
    return bool(getattr(model, "is_fused", lambda: False)())


def _aligned(target: Any, source: Any) -> Alignment | None:
    """Return which layers belong together; None where that is Ultralytics' business.

    Raises:
        CheckpointError: If too little fits, or the layers cannot be told apart.
    """
    options = _options.get() or Options()
    ours = _ours(target) or _ours(source)
    there, here = describe(source), describe(target)
    same = [a.kind for a in there] == [b.kind for b in here]
    strict = options.strict or data_sets._strict
    if same and not ours and not strict and options.pins is None:
        return None
    try:
        found = align(there, here, options.pins)
    except ValueError as error:
        raise CheckpointError(f"{provenance.name_of(source)}: {error}") from None
    fitting, possible = _share(found, source, target)
    enough = fitting >= ENOUGH * possible
    if not ours and options.pins is None:
        stock = by_number(there, here)
        better = not same and found.fitting > stock.fitting
        if (not better or not enough) if not strict else (not better and (enough or options.partial)):
            return None
    names = provenance.name_of(source), _model_name(target)
    if not enough and not options.partial:
        share = f"{fitting} of {possible} tensors ({100 * fitting / max(possible, 1):.0f} %)"
        raise CheckpointError(
            f"{names[0]}: only {share} fit {names[1]} in the same kinds of layers; give weights of the same family and "
            f"scale, or {options.partial_word}"
        )
    if found.ambiguity is not None:
        pin = ",".join([*(f"{i}={j}" for i, j in (options.pins or {}).items()), str(found.pin)])
        raise CheckpointError(
            f"{names[0]} fits {names[1]} in several ways: {found.ambiguity}; say which with yolo-attn transfer "
            f"{names[0]} {names[1]} -o OUT.pt --map {pin} (source=target), and train model=OUT.pt"
        )
    return found


def _model_name(model: Any) -> str:
    return Path(str((getattr(model, "yaml", None) or {}).get("yaml_file") or "the model")).name


def classes_of(model: Any) -> int:
    """Return the number of classes of a model."""
    # Not from its YAML: training with other classes changes that dict, which both models may hold.
    count = getattr(model.model[-1], "nc", None)
    return count if isinstance(count, int) else len(getattr(model, "names", None) or ())


def _class_branch(found: Alignment, source: Any, target: Any) -> frozenset[str]:
    """Return the parts of the head that are made for another number of classes; none if the heads are no pair."""
    head, other = len(found.source) - 1, len(found.target) - 1
    if found.pairs.get(head) != other:
        return frozenset()
    return class_branch(found.source[head], found.target[other], classes_of(source), classes_of(target))


def _share(found: Alignment, source: Any, target: Any) -> tuple[int, int]:
    """Return how many tensors fit in layers of one kind, and how many could: which family and scale weights are of.

    The head counts whatever its kind; a class branch for other classes does not count. Of a source that is fused for
    inference only the convolutions' weights are there as in training.
    """
    branch = _class_branch(found, source, target)
    fused = _is_fused(source) != _is_fused(target)
    head = len(found.source) - 1, len(found.target) - 1

    def counted(layer: Layer, names: Iterable[str], is_head: bool) -> int:
        names = [n for n in names if len(layer.tensors[n]) == 4] if fused else list(names)
        return sum(not (is_head and n.partition(".")[0] in branch) for n in names)

    fitting = sum(
        counted(found.source[i], found.source[i].fitting(found.target[j]), (i, j) == head)
        for i, j in found.pairs.items()
        if found.source[i].kind == found.target[j].kind or (i, j) == head
    )
    totals = [
        sum(counted(layer, layer.tensors, k == len(rows) - 1) for k, layer in enumerate(rows))
        for rows in (found.source, found.target)
    ]
    return fitting, min(totals)


def _rearranged(source: Any, target: Any, found: Alignment) -> Any:
    """Return a shallow copy of ``source`` whose layers are where ``target`` has them."""
    from torch import nn

    at = {j: source.model[i] for i, j in found.pairs.items()}
    view = copy.copy(source)
    view._modules = dict(source._modules)  # a copied module shares this dict
    view.model = nn.Sequential(*(at[k] if k in at else nn.Identity() for k in range(len(target.model))))
    view.is_fused = functools.partial(_is_fused, source)  # it counts norms, and some of them are left out
    first = getattr(getattr(target.model[0], "conv", None), "weight", None)
    if 0 not in at and first is not None and first.ndim == 4:
        # Older versions take the source's model.0.conv.weight for granted; this one's kernel fits nowhere.
        view.model[0].conv = nn.Module()
        view.model[0].conv.register_buffer("weight", first.new_zeros(1, 1, first.shape[2] + 1, first.shape[3] + 1))
    return view


@dataclass(frozen=True)
class _Facts:
    """What the tensors themselves say after loading."""

    target: Any
    alignment: Alignment
    branch: frozenset[str]
    classes: tuple[int, int]
    transferred: frozenset[tuple[int, str]]  # layer of the source, name within it
    in_part: Mapping[tuple[int, str], str]
    arrived: frozenset[str]  # names in the target

    @property
    def new_parameters(self) -> list[str]:
        return [name for name, _ in self.target.named_parameters() if name not in self.arrived]


def _compare(target: Any, source: Any, found: Alignment) -> _Facts:
    """Compare the tensors of every pair of layers."""
    transferred, arrived, in_part = set(), set(), {}
    classes = classes_of(source), classes_of(target)
    for i, j in found.pairs.items():
        have, given = target.model[j].state_dict(), source.model[i].state_dict()
        for name in have.keys() & given.keys():
            mine, theirs = have[name], given[name].to(have[name].device, have[name].dtype)
            if mine.shape == theirs.shape and bool((mine == theirs).all()):
                transferred.add((i, name))
                arrived.add(f"model.{j}.{name}")
            elif why := _part_of(mine, theirs, j == 0, classes if j == len(target.model) - 1 else None):
                in_part[i, name] = why
    for (i, name), why in list(in_part.items()):  # a bias goes with the rows of its weight
        bias = name.removesuffix("weight") + "bias"
        if "classes" in why and bias in source.model[i].state_dict():
            in_part[i, bias] = why
            transferred.discard((i, bias))
            arrived.discard(f"model.{found.pairs[i]}.{bias}")
    # The head may have been built again with the source's widths, so the parts are those of before.
    branch = class_branch(found.source[-1], found.target[-1], *classes) if found.target else frozenset()
    return _Facts(target, found, branch, classes, frozenset(transferred), in_part, frozenset(arrived))


def _part_of(mine: torch.Tensor, theirs: torch.Tensor, first: bool, classes: tuple[int, int] | None) -> str:
    """Say which part of a tensor came over: input channels of the first layer, classes of the head; empty for none."""
    if first and mine.ndim == 4 == theirs.ndim and mine.shape[2:] == theirs.shape[2:] and mine.shape != theirs.shape:
        count, channels = min(len(mine), len(theirs)), min(mine.shape[1], theirs.shape[1])
        part = theirs[:count].sum(1, keepdim=True) if mine.shape[1] == 1 else theirs[:count, :channels]
        if bool((mine[:count, : part.shape[1]] == part).all()):
            return f" ({theirs.shape[1]} input channels there, {mine.shape[1]} here)"
    if classes == (len(theirs), len(mine)) and mine.ndim > 1 and mine.shape[1:] == theirs.shape[1:]:
        rows = {tuple(row.flatten().tolist()) for row in theirs}
        count = sum(tuple(row.flatten().tolist()) in rows for row in mine)
        if count:
            return f" ({count} of {len(mine)} classes by name)"
    return ""


def _outcome(source: Any, facts: _Facts) -> Outcome:
    """Sort the tensors of both models by what became of them."""
    found = facts.alignment
    head = len(found.source) - 1
    unused: dict[tuple[int, str], int] = {}
    for i, layer in enumerate(found.source):
        for name in layer.tensors:
            if (i, name) in facts.transferred or (i, name) in facts.in_part:
                continue
            why = " in another shape or under another name"
            if i not in found.pairs:
                why = ", not in this model"
            elif i == head and name.partition(".")[0] in facts.branch:
                why = "the class branch of {where} " + "({} classes there, {} here)".format(*facts.classes)
            unused[i, why] = unused.get((i, why), 0) + 1
    new: dict[int, int] = {}
    taken = {(j, name) for (i, name) in facts.in_part for j in (found.pairs[i],)}
    for j, layer in enumerate(facts.target.model):
        missing = [
            name for name in layer.state_dict() if f"model.{j}.{name}" not in facts.arrived and (j, name) not in taken
        ]
        if missing:
            new[j] = len(missing)
    parts: dict[tuple[int, str], int] = {}
    for (i, _), why in facts.in_part.items():
        parts[i, why] = parts.get((i, why), 0) + 1
    before = provenance.of(source)
    inherited = before is not None and not before["trained"]
    return Outcome(
        tensors=sum(len(layer.tensors) for layer in found.source),
        transferred=len(facts.transferred),
        in_part=[Part(n, i, found.source[i].kind, why) for (i, why), n in parts.items()],
        unused=[Part(n, i, found.source[i].kind, why) for (i, why), n in unused.items()],
        new=[Part(n, j, found.target[j].kind) for j, n in new.items()],
        since=before["source"] if before and inherited else "",
        newer=_newer(before["new"], found) if before and inherited else (),
    )


def _newer(names: list[str], found: Alignment) -> list[Part]:
    """Count the parameters that the source itself did not have from where its weights came."""
    counts: dict[int, int] = {}
    for name in names:
        here = provenance.renamed(name, found.pairs)
        if here:
            number = int(here.split(".")[1])
            counts[number] = counts.get(number, 0) + 1
    return [Part(n, j, found.target[j].kind) for j, n in sorted(counts.items())]


def _take_names(target: Any, source: Any, facts: _Facts) -> None:
    """Take over the class names with the class branch, where the target only has numbers for them."""
    names = getattr(source, "names", None)
    if not isinstance(names, dict) or getattr(target, "names", None) != {k: str(k) for k in range(len(names))}:
        return
    head = len(facts.alignment.source) - 1
    branch = {name for name, shape in facts.alignment.source[head].tensors.items() if shape[:1] == (len(names),)}
    if branch and all((head, name) in facts.transferred for name in branch):
        target.names = dict(names)


def say(text: str) -> None:
    """Log a line as Ultralytics does."""
    from ultralytics.utils import LOGGER

    LOGGER.info(text)


def _warn(text: str) -> None:
    from ultralytics.utils import LOGGER

    LOGGER.warning(text)
