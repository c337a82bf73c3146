"""Every option of every block: wrong values are refused by name, and no option is accepted that has no effect."""

import inspect
import itertools
import re

import pytest

import yolo_attn.blocks  # noqa: F401  fills the registry
from yolo_attn.registry import BLOCKS
from yolo_attn.testing.block_inputs import C, make
from yolo_attn.testing.option_contract import differ

SPECS = [s for s in BLOCKS.values() if s.cls.__module__.startswith("yolo_attn.blocks.")]
every_option = pytest.mark.parametrize(
    ("spec", "option"), [pytest.param(s, o, id=f"{s.name}-{o}") for s in SPECS for o in s.options()]
)
every_block = pytest.mark.parametrize("spec", SPECS, ids=lambda s: s.name)


def build(spec, **options):
    return make(spec, **options).eval()


def wrong_values(spec, option):
    kind = spec.options()[option].annotation
    wrong = [] if "None" in kind else [None]
    if "bool" in kind:
        return [*wrong, 1, "yes"]
    if "str" in kind:
        return [*wrong, "no such choice", 1.5]
    if "Sequence[int]" in kind:
        return [*wrong, [], [0], [2, 1.5], "12", 0]
    return [*wrong, -1, True, "8", float("nan") if "float" in kind else 1.5]


@pytest.mark.fast
@every_option
def test_wrong_values_are_refused_by_name(spec, option):
    for value in wrong_values(spec, option):
        with pytest.raises(ValueError, match=rf"^\w+: {option}={re.escape(repr(value))} "):
            build(spec, **{option: value})


@pytest.mark.fast
@every_block
def test_wrong_channels_are_refused(spec):
    for value in [0, -8, 1.5, True, "64"] if spec.inputs == "one" else [8, [], [8, 0], [8, 1.5], "88", None]:
        with pytest.raises(ValueError, match=rf"^\w+: channels={re.escape(repr(value))} "):
            spec.build(value, *([C] if spec.output == "argument" else []))


def values_of(spec, option):
    """Return values for ``option`` other than its default; choices come from the block's own error message."""
    parameter = spec.options()[option]
    kind, default = parameter.annotation, parameter.default
    values = []
    if "bool" in kind:
        values = [not default]
    elif "str" in kind:
        with pytest.raises(ValueError, match=option) as error:
            build(spec, **{option: "no such choice"})
        values = re.findall(r"'(\w+)'", str(error.value).partition("must be")[2])
    if "Sequence[str]" in kind:
        values = [*values, values[:2]]
    if "Sequence[int]" in kind:
        values += [[3, 2, 2], [3, 2]]
    if re.search(r"(?<!\[)int\b", kind) and default is not inspect.Parameter.empty:
        values += [1, 3, 5, *([C] if option == "dv" else [])]
    if "float" in kind:
        values += [0.5, 8.0]
    return [v for v in values if v != default]


def attempt(spec, **options):
    """Return the block, or why it was refused."""
    try:
        return build(spec, **options)
    except ValueError as error:
        return str(error)


def contexts(spec):
    """Return settings of choices, switches and optional numbers: single ones, and pairs of which one fails alone."""
    kinds = {o: p.annotation for o, p in spec.options().items() if re.search("str|bool|None", p.annotation)}
    single = [{o: v} for o in kinds for v in values_of(spec, o)]
    valid = [c for c in single if not isinstance(attempt(spec, **c), str)]
    pairs = [a | b for a, b in itertools.combinations(single, 2) if a.keys() != b.keys()]
    new = [p for p in pairs if sum(c.items() <= p.items() for c in valid) < 2]
    return [{}, *valid, *(p for p in new if not isinstance(attempt(spec, **p), str))]


# Values that ask for what the default gives already: (block, option, value) -> why.
SAME_AS_DEFAULT = {
    ("EMA", "c2", C): "confirms channels",
    ("PMFS", "br", 3): "as many groups as inputs",
    ("MultiHeadGlobalAttention", "shift", 1): "half of a window of 3",
    ("GlobalLocalAttention", "shift", 1): "half of a window of 3",
    ("GSoP", "row_activation", "none"): "the authors' activation of the channel form",
    ("GSoP", "row_activation", "relu"): "the authors' activation of the position form",
    ("AttentionAugmentedConv", "kappa", 0.5): "at this width, 20 channels for each head are more",
}


@every_block
def test_every_option_has_an_effect_or_is_refused(spec):
    silent = []
    for context in contexts(spec):
        for option in spec.options().keys() - context.keys():
            for value in values_of(spec, option):
                other = attempt(spec, **context, **{option: value})
                if isinstance(other, str):
                    named = set(re.findall(r"(\w+)=", other))
                    assert option in named or named & context.keys(), other
                    assert "no effect" not in other or len(named & spec.options().keys()) > 1, other
                    continue
                same = not differ(spec, build(spec, **context), other)
                if same and (spec.name, option, value) not in SAME_AS_DEFAULT:
                    silent.append((context, option, value))
    assert not silent
