"""Make the models that show what a difference is worth.

``identity``  The baseline with an ``nn.Identity`` wherever a variant has an additional layer. It computes and trains
              exactly as the baseline; if it does not, the comparison itself is broken.
``capacity``  The baseline widened to a variant's parameters (``capacity:gflops``: to its operations at 640 px). A
              variant that beats the baseline but not this model owes it to its size.
``repeat``    The baseline again with other seeds. Its difference is noise.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, Context, Decimal
from pathlib import Path
from typing import Any, get_args

from ..errors import ArgumentError
from ..experiment.plan import Control, stem
from ..experiment.storage import ControlKind
from ..messages import joined, nearest

KINDS: tuple[ControlKind, ...] = get_args(ControlKind)
MEASURES = ("parameters", "gflops")  # functions of model_sizes
UPWARDS = Context(prec=1, rounding=ROUND_CEILING)  # to one digit: 0.034 to 0.04, 3.66 to 4


@dataclass(frozen=True, slots=True)
class Wanted:
    """One item of ``control=``.

    Attributes:
        kind: ``identity``, ``capacity`` or ``repeat``.
        models: The variants it is for.
        measure: What ``capacity`` equals: ``parameters`` or ``gflops``.
    """

    kind: ControlKind
    models: tuple[str, ...]
    measure: str = "parameters"


def parse(item: str, models: Sequence[str]) -> Wanted:
    """Read one item of ``control=``, such as ``identity``, ``capacity:gflops`` or ``capacity:gflops:yolo11n-ema.yaml``.

    Args:
        item: The item: a kind, for ``capacity`` optionally a measure, then optionally one variant.
        models: The variants of the experiment.

    Raises:
        ArgumentError: If it is none of these, or names a model that is not a variant.
    """
    word, colon, rest = item.strip().partition(":")
    kind = next((kind for kind in KINDS if kind == word), None)
    if kind is None:
        raise ArgumentError(f"control={item}: unknown control {word!r}.{nearest(word, KINDS)} Use {joined(KINDS)}")
    if colon and not rest:
        raise ArgumentError(f"control={item}: nothing follows the colon; write control={kind} or control={kind}:MODEL")
    if kind == "repeat":
        if rest:
            raise ArgumentError(f"control={item}: repeat concerns the baseline only; write control=repeat")
        return Wanted(kind, ())
    if not models:
        raise ArgumentError(f"control={item}: there is no variant to make it for; name one with models=")
    measure = "parameters"
    if kind == "capacity" and rest.partition(":")[0] in MEASURES:
        measure, _, rest = rest.partition(":")
    if not rest:
        return Wanted(kind, tuple(models), measure)
    found = [model for model in models if rest in (model, stem(model), Path(model).name)]
    if not found:
        choices = [*models, *(MEASURES if kind == "capacity" else ())]
        raise ArgumentError(
            f"control={item}: {rest!r} is not a variant of this experiment.{nearest(rest, choices)} "
            f"After {kind}: use one of {joined(choices)}"
        )
    return Wanted(kind, tuple(found), measure)


@dataclass(frozen=True, slots=True)
class _Made:
    """A control without a name yet."""

    wanted: Wanted
    content: dict[str, Any]
    variant: str
    note: str

    @property
    def key(self) -> str:
        """The same text for the same control: rows may be in either list, and the name of the file does not matter."""
        rest = {name: value for name, value in self.content.items() if name not in ("backbone", "head", "yaml_file")}
        rows = [*self.content["backbone"], *self.content["head"]]
        return json.dumps([self.wanted.kind, rest, rows], sort_keys=True, default=str)


def make_controls(
    items: Iterable[str], base: str, models: Sequence[str], arguments: Mapping[str, Any]
) -> list[Control]:
    """Make the controls of an experiment. Variants for which they are the same model share one.

    A line on stderr names each variant for which there is no capacity control, because the base has its size already.

    Args:
        items: Items that :func:`parse` reads.
        base: Model YAML of the baseline.
        models: Model YAMLs of the variants.
        arguments: Arguments of the training.

    Raises:
        ArgumentError: If an item cannot be read, or its control cannot be made; the message says why.
        LayerError: If a model does not exist or cannot be built.
    """
    every = [parse(item, models) for item in items]
    made: list[_Made] = []
    for wanted in every:
        _check(wanted, base, arguments)  # all of them before the first model is built
    for wanted in every:
        if wanted.kind == "identity":
            made += _identity(base, wanted)
        elif wanted.kind == "capacity":
            made += _capacity(base, wanted)
    controls = _named(made, base)
    if any(wanted.kind == "repeat" for wanted in every):
        note = f"{stem(base)} again with other seeds: its difference is noise"
        controls.append(Control("repeat", f"{stem(base)}-repeat", note=note))
    return controls


def _check(wanted: Wanted, base: str, arguments: Mapping[str, Any]) -> None:
    """Refuse controls of models without rows, and of a width that pretrained weights do not fit."""
    if wanted.kind == "repeat":
        return
    for model in (base, *wanted.models):
        if Path(model).suffix not in (".yaml", ".yml"):
            raise ArgumentError(
                f"control={wanted.kind}: {model} is not a model YAML, and a control is made of its rows; give the "
                "YAML as the model and the weights as pretrained="
            )
    weights = arguments.get("pretrained")
    named = isinstance(weights, (str, Path)) and str(weights) not in ("", "True", "False", "None")
    if wanted.kind == "capacity" and named:
        raise ArgumentError(
            f"control=capacity: the weights of pretrained={weights} do not fit {stem(base)} at another width, so the "
            "control would start at a disadvantage; train from scratch (pretrained=False), or use control=identity "
            "or control=repeat"
        )


def _identity(base: str, wanted: Wanted) -> list[_Made]:
    from ..integration.queries import model_graph  # start-up time
    from ..model_yaml.identity_control import with_identities  # start-up time

    content = model_graph.load(base)
    made = []
    for model in wanted.models:
        found = with_identities(content, model_graph.load(model))
        note = (
            f"{stem(base)} with nn.Identity as row{'s'[: len(found.rows) > 1]} {joined(found.rows)}, where "
            f"{stem(model)} has {joined(sorted(set(found.names)), ' and ')}: must give the metrics of {stem(base)}"
        )
        made.append(_Made(wanted, found.content, model, note))
    return made


def _capacity(base: str, wanted: Wanted) -> list[_Made]:
    from ..integration.queries import model_graph, model_sizes  # start-up time
    from ..model_yaml.capacity_control import widened  # start-up time

    content = model_graph.load(base)
    measured = getattr(model_sizes, wanted.measure)
    made = []
    for model in wanted.models:
        goal = measured(model_graph.load(model))
        found = widened(content, goal, wanted.measure)
        compared = f"{_amount(found.size, wanted.measure)} where {stem(model)} has {_amount(goal, wanted.measure)}"
        off = found.size / goal - 1
        if found.width == found.before and not found.rows:
            sys.stderr.write(
                f"control=capacity: none for {stem(model)}: {stem(base)} itself is as large, {compared}, within "
                f"{Decimal(100 * abs(off)).normalize(UPWARDS):f} %\n"
            )
            continue
        rows = ""
        if found.rows:
            change = "more" if min(found.rows.values()) > 0 else "fewer"
            rows = f", with 8 channels {change} in row{'s'[: len(found.rows) > 1]} {joined(found.rows)}"
        note = (
            f"{stem(base)} at width {found.width:g} instead of {found.before:g}{rows}: {compared} ({100 * off:+.1f} %)"
        )
        made.append(_Made(wanted, found.content, model, note))
    return made


def _amount(size: float, measure: str) -> str:
    return f"{size:,} parameters" if measure == "parameters" else f"{size:.2f} GFLOPs"


def _named(made: Sequence[_Made], base: str) -> list[Control]:
    """Return each model once, with its YAML text, and a name in which Ultralytics finds the baseline's scale."""
    from ..integration.queries import yaml_text  # start-up time
    from ..integration.queries.model_graph import scale_of  # start-up time

    groups: dict[str, list[_Made]] = {}
    for one in made:
        groups.setdefault(one.key, []).append(one)
    found: dict[str, Control] = {}
    for group in groups.values():
        kind, measure = group[0].wanted.kind, group[0].wanted.measure
        end = kind if measure == "parameters" else f"{kind}-{measure}"
        variants = tuple(dict.fromkeys(one.variant for one in group))
        first, *others = map(stem, variants)
        wishes = [f"{first}-{end}", f"{stem(base)}-{first}-{end}"]
        wishes += [f"{stem(base)}-{end}{k or ''}" for k in range(len(made))]
        scale = scale_of(f"{stem(base)}.yaml")
        name = next(wish for wish in wishes if wish not in found and scale_of(f"{wish}.yaml") == scale)
        note = group[0].note + (f"; the same for {joined(others)}" if others else "")
        comment = f"{name}: {note}. Made by yolo-attn compare control={kind}."
        found[name] = Control(kind, name, variants, yaml_text.to_text(group[0].content, comment), note)
    return list(found.values())
