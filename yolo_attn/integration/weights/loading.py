"""Load pretrained weights so that they follow their layers.

Ultralytics matches tensors by name, and names hold layer numbers. We give its own ``load`` a copy of the source whose
layers have the numbers that they have in the target. It then handles input channels, class names and another number of
classes as it always does.
"""

from __future__ import annotations

import copy
import functools
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...alignment.layer_alignment import Alignment, Layer, align, by_number, class_branch
from ...alignment.transfer_summary import Outcome, line
from ...errors import CheckpointError
from .. import install
from ..queries import layer_types, model_layers, yolo_command
from ..strict_mode import is_strict, strict
from . import weight_sources
from .transfer_outcome import TensorComparison, compare_tensors, outcome_of

if TYPE_CHECKING:
    from ultralytics.models import YOLO

ENOUGH = 0.5  # share of the tensors that must fit, else the weights are of another family or scale
FUSED = "Pretrained weights are fused for inference; train from the unfused checkpoint instead."


@dataclass(frozen=True)
class Options:
    """How to load weights in the current context.

    Attributes:
        partial: Load the weights even if most of them do not fit.
        partial_argument: How the user writes that, for messages.
        pins: Layers of the source whose layer in the target is known.
        align_stock: Align stock models too; strict mode does so anyway.
    """

    partial: bool = False
    partial_argument: str = "partial=True"
    pins: Mapping[int, int] | None = None
    align_stock: bool = False


_DEFAULT = Options()
_options: ContextVar[Options] = ContextVar("yolo_attn_loading", default=_DEFAULT)
_latest: ContextVar[Outcome | None] = ContextVar("yolo_attn_outcome", default=None)


@contextmanager
def options(**changes: Any) -> Iterator[None]:
    """Load weights with these :class:`Options` within this context. An empty or False option stays as it is."""
    token = _options.set(replace(_options.get(), **{k: v for k, v in changes.items() if v}))
    try:
        yield
    finally:
        _options.reset(token)


def allow_partial() -> None:
    """Set ``partial`` until the current :func:`options` context ends."""
    _options.set(replace(_options.get(), partial=True))


def load(
    model: YOLO | str | Path,
    weights: YOLO | str | Path,
    *,
    partial: bool = False,
    layers: Mapping[int, int] | None = None,
) -> YOLO:
    """Load a checkpoint's weights into a model, matching layers even if their numbers changed.

    Unlike ``YOLO.load``, it also aligns stock models, such as yolov8n-p2.yaml with yolov8n.pt.

    Args:
        model: A ``YOLO`` model, or the name or path of a model YAML.
        weights: The checkpoint (``.pt``), or a ``YOLO`` model.
        partial: Load the weights even if fewer than half of the tensors fit.
        layers: Known pairs: number of the source's layer to number of the model's layer.

    Returns:
        The ``YOLO`` model. One line in the log says what was transferred.

    Raises:
        CheckpointError: If the checkpoint is missing, too few tensors fit, or matches are ambiguous.
        LayerError: If the model is missing or cannot be built.
    """
    install()
    with strict(), options(partial=partial, pins=layers):
        opened: Any = yolo_command.open_model(str(model)) if isinstance(model, str | Path) else model
        if isinstance(weights, str | Path):
            yolo_command.check_model(str(weights))
        opened.load(weights if isinstance(weights, str | Path) else weights.model)
    return opened


def load_quietly(target: Any, source: Any) -> Outcome:
    """Load the weights of one built model into another; log nothing. Raise as :func:`load` does."""
    with options(align_stock=True):
        target.load(source, verbose=False)
    outcome = _latest.get()
    assert outcome is not None, "BaseModel.load is wrapped while this package is installed"
    return outcome


@contextmanager
def watched() -> Iterator[Callable[[], str | None]]:
    """Yield a function that returns the line about the last load within this context, None before the first."""
    token = _latest.set(None)
    try:
        yield lambda: None if (outcome := _latest.get()) is None else line(outcome)
    finally:
        _latest.reset(token)


def is_for_us(target: Any, source: Any) -> bool:
    """Return whether we align these two models; two stock models only if asked to."""
    if not (model_layers.is_list_of_layers(target) and model_layers.is_list_of_layers(source)):
        return False
    given = _options.get()
    asked = is_strict() or given.align_stock or given.partial or given.pins is not None
    return asked or layer_types.has_ours(target) or layer_types.has_ours(source)


def load_aligned(
    original: Callable[..., Any], target: Any, weights: Any, source: Any, verbose: bool, **kwargs: Any
) -> Any:
    """Load with the layers aligned; where that gains nothing, exactly as Ultralytics does.

    ``original`` is ``BaseModel.load``, ``weights`` its argument (a model or a checkpoint's dict), ``source`` the model
    in it.
    """
    # Describe both before loading: the original may rebuild the head for its classes.
    there, here = model_layers.describe(source), model_layers.describe(target)
    ours = layer_types.has_ours(target) or layer_types.has_ours(source)
    found = _aligned(target, source, there, here, ours)
    source.float()  # as the original does; it would skip layers that have no place in the target
    if found is None:
        result = original(target, weights, verbose=verbose, **kwargs)
    else:
        result = original(target, _rearranged(source, target, found), verbose=False, **kwargs)
    compared = compare_tensors(target, source, found or by_number(there, here))
    if found is not None:
        _take_names(target, source, compared)
    outcome = outcome_of(source, compared)
    new = {name for name, _ in target.named_parameters()} - compared.in_target(compared.transferred)
    weight_sources.record(target, source, compared.alignment.pairs, new)
    _latest.set(outcome)
    if verbose and found is not None:
        pair = "" if ours else f"aligned {weight_sources.name_of(source)} with {_model_name(target)}: "
        say(pair + line(outcome))
        if _is_fused(source) and not _is_fused(target):
            say(FUSED, logging.WARNING)
    return result


def _is_fused(model: Any) -> bool:
    return bool(getattr(model, "is_fused", lambda: False)())


def _aligned(target: Any, source: Any, there: list[Layer], here: list[Layer], ours: bool) -> Alignment | None:
    """Return the alignment; None where Ultralytics' own loading transfers as much."""
    given = _options.get()
    try:
        found = align(there, here, given.pins)
    except ValueError as error:
        raise CheckpointError(f"{weight_sources.name_of(source)}: {error}") from None
    fitting, possible = _share(found, source, target)
    weights, model = weight_sources.name_of(source), _model_name(target)
    if fitting < ENOUGH * possible and not given.partial:
        share = f"{fitting} of {possible} tensors ({100 * fitting / max(possible, 1):.0f} %)"
        raise CheckpointError(
            f"{weights}: only {share} fit {model} in layers of the same type; give weights of the same family and "
            f"scale, or {given.partial_argument}"
        )
    same = [a.kind for a in there] == [b.kind for b in here]
    if not ours and given.pins is None and (same or found.fitting <= by_number(there, here).fitting):
        return None
    if found.ambiguity is not None:
        pin = ",".join([*(f"{i}={j}" for i, j in (given.pins or {}).items()), str(found.pin)])
        raise CheckpointError(
            f"{weights} fits {model} in several ways: {found.ambiguity}; choose with yolo-attn transfer "
            f"{weights} {model} -o OUT.pt --map {pin} (source=target), then train model=OUT.pt"
        )
    return found


def _model_name(model: Any) -> str:
    return Path(str((getattr(model, "yaml", None) or {}).get("yaml_file") or "the model")).name


def _share(found: Alignment, source: Any, target: Any) -> tuple[int, int]:
    """Return how many tensors fit in layers of the same type, and how many could: the same family and scale fit.

    The head counts whatever its type. A class branch for other classes does not count. If one model is fused for
    inference, only the weights of convolutions count, because fusing keeps nothing else.
    """
    fused = _is_fused(source) != _is_fused(target)
    head = len(found.source) - 1, len(found.target) - 1
    classes = model_layers.classes_of(source), model_layers.classes_of(target)
    branch = class_branch(found.source[-1], found.target[-1], *classes) if head in found.pairs.items() else frozenset()

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
    """Return a shallow copy of ``source`` with its layers at their numbers in ``target``."""
    from torch import nn

    at = {j: source.model[i] for i, j in found.pairs.items()}
    view = copy.copy(source)
    view._modules = dict(source._modules)  # a copied module shares this dict
    view.model = nn.Sequential(*(at[k] if k in at else nn.Identity() for k in range(len(target.model))))
    view.is_fused = functools.partial(_is_fused, source)  # it counts norms, and the copy lacks some
    first = getattr(getattr(target.model[0], "conv", None), "weight", None)
    if 0 not in at and first is not None and first.ndim == 4:
        # Older versions require the source's model.0.conv.weight; a kernel of this size fits nowhere.
        view.model[0].conv = nn.Module()
        view.model[0].conv.register_buffer("weight", first.new_zeros(1, 1, first.shape[2] + 1, first.shape[3] + 1))
    return view


def _take_names(target: Any, source: Any, compared: TensorComparison) -> None:
    """Copy the class names with the class branch, where the target's are only numbers."""
    names = getattr(source, "names", None)
    if not isinstance(names, dict) or getattr(target, "names", None) != {k: str(k) for k in range(len(names))}:
        return
    head = len(compared.alignment.source) - 1
    branch = {name for name, shape in compared.alignment.source[head].tensors.items() if shape[:1] == (len(names),)}
    if branch and all((head, name) in compared.transferred for name in branch):
        target.names = dict(names)


def say(text: str, level: int = logging.INFO) -> None:
    """Log a line as Ultralytics does."""
    from ultralytics.utils import LOGGER

    LOGGER.log(level, text)
