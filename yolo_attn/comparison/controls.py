"""Models that show what a difference is worth.

``identity``  The base with an ``nn.Identity`` wherever a variant has a layer more. It computes and trains as the base
              does, number by number; if it does not, the comparison itself is broken.
``capacity``  The base widened to a variant's parameters (``capacity:gflops``: to its operations at 640 px). A variant
              that is better than the base and no better than this one is better by its size.
``repeat``    The base again with other seeds. What differs there is noise.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

from ..errors import ArgumentError
from ..experiment.plan import Control, stem
from ..experiment.storage import ControlKind
from ..messages import nearest

KINDS: tuple[ControlKind, ...] = get_args(ControlKind)
MEASURES = ("parameters", "gflops")
Say = Callable[[str], object]


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
    """Read one item of ``control=``.

    ``identity``, ``capacity``, ``repeat``; ``identity:yolo11n-ema.yaml`` for one variant; ``capacity:gflops``,
    ``capacity:gflops:yolo11n-ema.yaml``.

    Args:
        item: The item.
        models: The variants of the comparison.

    Raises:
        ArgumentError: If it is none of these, or names a model that is no variant.
    """
    word, colon, rest = item.strip().partition(":")
    kind = next((kind for kind in KINDS if kind == word), None)
    if kind is None:
        raise ArgumentError(f"control={item}: no control {word!r}.{nearest(word, KINDS)} Controls: {', '.join(KINDS)}")
    if colon and not rest:
        raise ArgumentError(f"control={item}: nothing behind the colon; write control={kind}, or {kind}:MODEL")
    if kind == "repeat":
        if rest:
            raise ArgumentError(f"control={item}: repeat is of the base and takes nothing behind a colon; write repeat")
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
            f"control={item}: {rest!r} is no variant of this comparison.{nearest(rest, choices)} "
            f"Behind {kind}: one of {', '.join(choices)}"
        )
    return Wanted(kind, tuple(found), measure)


@dataclass(frozen=True, slots=True)
class _Made:
    """A control before it has a title."""

    wanted: Wanted
    content: dict[str, Any]
    of: tuple[str, ...]
    note: str


def make_controls(
    items: Iterable[str], base: str, models: Sequence[str], arguments: Mapping[str, Any], say: Say | None = None
) -> list[Control]:
    """Return the controls of a comparison; variants for which they are the same model share one.

    Args:
        items: As :func:`parse` reads them.
        base: Model YAML of the baseline.
        models: Model YAMLs of the variants.
        arguments: Arguments of the training.
        say: Gets a line about each control that is left out; by default it goes to stderr.

    Raises:
        ArgumentError: If an item cannot be read, or its control cannot be made; the message says why.
        LayerError: If a model does not exist, or cannot be built.
    """
    every = [parse(item, models) for item in items]
    made: list[_Made] = []
    for wanted in every:
        _check(wanted, base, arguments)  # all of them before the first model is built
    for wanted in every:
        if wanted.kind == "identity":
            made += _identity(base, wanted)
        elif wanted.kind == "capacity":
            made += _capacity(base, wanted, say or _to_stderr)
    controls = _controls(_merged(made), base)
    if any(wanted.kind == "repeat" for wanted in every):
        note = f"{stem(base)} again with other seeds: what differs is noise"
        controls.append(Control("repeat", f"{stem(base)}-repeat", (), "", note))
    return controls


def _check(wanted: Wanted, base: str, arguments: Mapping[str, Any]) -> None:
    """Refuse what cannot be made of these words.

    Raises:
        ArgumentError: If a model is no YAML, or weights would be loaded that a wider model cannot take.
    """
    if wanted.kind == "repeat":
        return
    for model in (base, *wanted.models):
        if Path(model).suffix not in (".yaml", ".yml"):
            raise ArgumentError(
                f"control={wanted.kind}: {model} is no model YAML, and a control is made of its rows; give the YAML "
                "as the model and the weights as pretrained="
            )
    weights = arguments.get("pretrained")
    named = isinstance(weights, (str, Path)) and str(weights) not in ("", "True", "False", "None")
    if wanted.kind == "capacity" and named:
        raise ArgumentError(
            f"control=capacity: {stem(base)} at another width cannot take the weights of pretrained={weights}, and "
            "would lose by that alone; train from scratch (pretrained=False), or use control=identity or repeat"
        )


def _identity(base: str, wanted: Wanted) -> list[_Made]:
    from ..integration.queries import model_graph
    from ..model_yaml.identity_control import with_identities

    content = model_graph.load(base)
    made = []
    for model in wanted.models:
        found = with_identities(content, model_graph.load(model))
        rows = f"row{'s'[: len(found.rows) > 1]} {', '.join(map(str, found.rows))}"
        note = (
            f"{stem(base)} with nn.Identity as {rows}, where {stem(model)} has "
            f"{' and '.join(sorted(set(found.names)))}: must give the numbers of {stem(base)}"
        )
        made.append(_Made(wanted, found.content, (model,), note))
    return made


def _capacity(base: str, wanted: Wanted, say: Say) -> list[_Made]:
    from ..integration.queries import model_graph, model_sizes
    from ..model_yaml.capacity_control import widened

    content = model_graph.load(base)
    measured = model_sizes.parameters if wanted.measure == "parameters" else model_sizes.gflops
    made = []
    for model in wanted.models:
        goal = measured(model_graph.load(model))
        found = widened(content, goal, wanted.measure)
        it = f"{stem(model)} has {_amount(goal, wanted.measure)}"
        if found.width == found.before:
            share = _upwards(100 * abs(found.own / goal - 1))
            say(
                f"control=capacity: none for {stem(model)}: {stem(base)} comes closest at its own width, "
                f"{_amount(found.own, wanted.measure)} where {it}, within {share} %"
            )
            continue
        width = f"{stem(base)} at width {found.width:g} in place of {found.before:g}"
        difference = f"{100 * (found.size / goal - 1):+.1f} %"
        note = f"{width}: {_amount(found.size, wanted.measure)} where {it} ({difference})"
        made.append(_Made(wanted, found.content, (model,), note))
    return made


def _amount(size: float, measure: str) -> str:
    return f"{size:,} parameters" if measure == "parameters" else f"{size:.2f} GFLOPs"


def _upwards(percent: float) -> str:
    """Return a percentage with one digit that counts, rounded up: 0.034 to 0.04, 3.66 to 4."""
    if percent == 0:
        return "0"
    digits = max(-math.floor(math.log10(percent)), 0)
    return f"{math.ceil(percent * 10**digits) / 10**digits:.{digits}f}"


def _merged(made: Iterable[_Made]) -> list[_Made]:
    """Return each model once, with all the variants that it belongs to."""
    found: dict[tuple[str, str], _Made] = {}
    for one in made:
        key = one.wanted.kind, _key(one.content)
        first = found.setdefault(key, one)
        found[key] = replace(first, of=tuple(dict.fromkeys([*first.of, *one.of])))
    return list(found.values())


def _key(content: dict[str, Any]) -> str:
    """Return what tells models apart: rows may stand in either list, and a file's name is of no account."""
    rest = {k: v for k, v in content.items() if k not in ("backbone", "head", "yaml_file")}
    return json.dumps([rest, [*content["backbone"], *content["head"]]], sort_keys=True, default=str)


def _controls(made: Sequence[_Made], base: str) -> list[Control]:
    """Give each model a title from which Ultralytics reads the base's scale, and its text."""
    from ..model_yaml.yaml_text import to_text

    out: list[Control] = []
    for one in made:
        kind = one.wanted.kind
        end = kind if one.wanted.measure == "parameters" else f"{kind}-{one.wanted.measure}"
        variant = stem(one.of[0])
        wishes = [f"{variant}-{end}", f"{stem(base)}-{variant}-{end}"]
        wishes += [f"{stem(base)}-{end}{k or ''}" for k in range(len(made))]
        taken = [control.name for control in out]
        name = next(w for w in wishes if w not in taken and _scale(w) == _scale(stem(base)))
        note = "; the same for ".join([one.note, ", ".join(map(stem, one.of[1:]))]) if one.of[1:] else one.note
        comment = f"{name}: {note}. Made by yolo-attn compare control={kind}."
        out.append(Control(kind, name, one.of, to_text(one.content, comment), note))
    return out


def _scale(name: str) -> str:
    from ..integration.queries import model_graph

    return model_graph.scale_of(f"{name}.yaml")


def _to_stderr(line: str) -> None:
    sys.stderr.write(f"{line}\n")
