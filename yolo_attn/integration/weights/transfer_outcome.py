"""Compare two models after loading: which tensors arrived, which did not, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...alignment.layer_alignment import Alignment, class_branch
from ...alignment.transfer_summary import Outcome, Part
from ..queries import model_layers
from . import weight_sources

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class TensorComparison:
    """Which tensors are equal after loading."""

    target: Any
    alignment: Alignment
    classes: tuple[int, int]
    transferred: set[tuple[int, str]]  # layer of the source, name within it
    in_part: Mapping[tuple[int, str], str]

    def in_target(self, names: Iterable[tuple[int, str]]) -> set[str]:
        """Return the names that tensors of the source have in the target."""
        return {f"model.{self.alignment.pairs[i]}.{name}" for i, name in names}


def compare_tensors(target: Any, source: Any, found: Alignment) -> TensorComparison:
    """Compare the tensors of every pair of layers."""
    transferred, in_part = set(), {}
    classes = model_layers.classes_of(source), model_layers.classes_of(target)
    for i, j in found.pairs.items():
        have, given = target.model[j].state_dict(), source.model[i].state_dict()
        for name in have.keys() & given.keys():
            mine, theirs = have[name], given[name].to(have[name].device, have[name].dtype)
            if mine.shape == theirs.shape and bool((mine == theirs).all()):
                transferred.add((i, name))
            elif why := _part_of(mine, theirs, j == 0, classes if j == len(target.model) - 1 else None):
                in_part[i, name] = why
    for (i, name), why in list(in_part.items()):  # a bias goes with the rows of its weight
        bias = name.removesuffix("weight") + "bias"
        if "classes" in why and bias in source.model[i].state_dict():
            in_part[i, bias] = why
            transferred.discard((i, bias))
    return TensorComparison(target, found, classes, transferred, in_part)


def _part_of(mine: torch.Tensor, theirs: torch.Tensor, first: bool, classes: tuple[int, int] | None) -> str:
    """Describe which part of a tensor was copied: input channels or classes; empty for none."""
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


def outcome_of(source: Any, compared: TensorComparison) -> Outcome:
    """Sort the tensors of both models: transferred, in part, unused, new."""
    found = compared.alignment
    # The head may have been built again with the source's widths, so the parts are those of before.
    branch = class_branch(found.source[-1], found.target[-1], *compared.classes)
    unused: Counter[tuple[int, str]] = Counter()
    for i, layer in enumerate(found.source):
        for name in layer.tensors:
            if (i, name) in compared.transferred or (i, name) in compared.in_part:
                continue
            why = " in another shape or under another name"
            if i not in found.pairs:
                why = ", not in this model"
            elif i == len(found.source) - 1 and name.partition(".")[0] in branch:
                why = "the class branch of {where} " + "({} classes there, {} here)".format(*compared.classes)
            unused[i, why] += 1
    known = compared.in_target([*compared.transferred, *compared.in_part])
    new = Counter(
        int(name.partition(".")[0]) for name in compared.target.model.state_dict() if f"model.{name}" not in known
    )
    in_part = Counter((i, why) for (i, _), why in compared.in_part.items())
    before = weight_sources.of(source)
    inherited: dict[str, Any] = before if before is not None and not before["trained"] else {"source": "", "new": []}
    here = [weight_sources.renamed(name, found.pairs) for name in inherited["new"]]  # new in the source itself
    newer = Counter(sorted(int(name.split(".")[1]) for name in here if name))
    return Outcome(
        tensors=sum(len(layer.tensors) for layer in found.source),
        transferred=len(compared.transferred),
        in_part=[Part(n, i, found.source[i].kind, why) for (i, why), n in in_part.items()],
        unused=[Part(n, i, found.source[i].kind, why) for (i, why), n in unused.items()],
        new=[Part(n, j, found.target[j].kind) for j, n in new.items()],
        since=inherited["source"],
        newer=[Part(n, j, found.target[j].kind) for j, n in newer.items()],
    )
