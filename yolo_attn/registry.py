"""Name -> layer type table. Knows nothing of torch or Ultralytics.

A layer type is a module class together with what a model YAML has to know about it: whether it reads one map or a
list of them, how many channels it puts out, and what a repeat count means.

    from yolo_attn import register

    @register("MyAttention", paper="https://arxiv.org/abs/0000.00000")
    class MyAttention(nn.Module):
        def __init__(self, channels: int, reduction: int = 16): ...

A package that is installed announces its layers through the entry point group ``yolo_attn.blocks``; each entry names
a module whose import registers them.
"""

from __future__ import annotations

import importlib.metadata
import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from .messages import nearest

T = TypeVar("T", bound=type)

ENTRY_POINT_GROUP = "yolo_attn.blocks"
Inputs = Literal["one", "list", "pyramid"]
OutputFunction = Callable[[list[int], dict[str, Any]], "int | list[int]"]
Output = Literal["input", "argument"] | int | OutputFunction
Repeats = Literal["stack", "argument", "never"]

# Ultralytics writes these attributes onto every layer after building it.
RESERVED_ATTRIBUTES = ("i", "f", "type", "np")


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockSpec:
    """What the rest of the project may know about a layer type without building it.

    Attributes:
        name: Layer name as written in a model YAML.
        cls: The module class, called as ``cls(channels, **options)``; see :meth:`build`.
        paper: Address of the paper.
        inputs: ``"one"`` map, a ``"list"`` of maps (the YAML's ``from`` is then a list), or a ``"pyramid"``: the list
            that one other layer puts out. ``channels`` is a list for the last two.
        output: Where the output's channels come from: ``"input"``, the input's; ``"argument"``, the row's first
            argument scaled by the model's width (handed to the class as its second argument); the index of one of the
            inputs (``-1``: the last); or a function of the inputs' channels and the row's options that returns them.
        pyramid: True for a layer that puts out a list of maps; ``output`` is then a function that returns a list. Rows
            read one map of it through a layer with ``inputs="pyramid"``, as PyramidLevel.
        repeats: What a repeat count above 1 means, after depth scaling: ``"stack"``, that many layers in a row;
            ``"argument"``, one layer built with ``n=count``; ``"never"``, an error.
        positional: Options that a row may give by position, in order. None by default: a bare number in a row reads
            as a channel count, and those are filled in.
        replaces_csp: True for a layer that stands in for C3k2, A2C2f or C2fCIB; the detection head is then built as
            it is behind those (YOLO11 and later), not as behind C2f.
        fixed: Options that a row cannot give, with the value they have in a model: what makes a layer, from one map to
            a map of the same size, of a class that by itself returns something else (a bare attention map).
        min_batch: Smallest batch that works in train mode (2 where a norm sees 1x1 maps).
        checked: What its tests compare it with: ``"golden"``, figures of the authors' code; ``"loop"``, a literal loop
            over the paper's formulas in float64.
    """

    name: str
    cls: type
    paper: str
    inputs: Inputs = "one"
    output: Output = "input"
    pyramid: bool = False
    repeats: Repeats = "stack"
    positional: tuple[str, ...] = ()
    replaces_csp: bool = False
    fixed: Mapping[str, Any] = field(default_factory=dict, hash=False)
    min_batch: int = 1
    checked: tuple[str, ...] = ()

    @property
    def import_path(self) -> str:
        """Import path of the class."""
        return f"{self.cls.__module__}.{self.cls.__qualname__}"

    def options(self) -> dict[str, inspect.Parameter]:
        """Return the constructor's options by name, without the channels and what the parser fills in or fixes."""
        parameters = list(inspect.signature(self.cls).parameters.values())
        filled = 2 if self.output == "argument" else 1
        named = [p for p in parameters[filled:] if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
        filled_in = {"n", *self.fixed} if self.repeats == "argument" else set(self.fixed)
        return {p.name: p for p in named if p.name not in filled_in}

    def build(self, channels: int | list[int], *args: Any, **options: Any) -> Any:
        """Build the layer as a model has it: the class with the fixed options."""
        return self.cls(channels, *args, **options, **self.fixed)


BLOCKS: dict[str, BlockSpec] = {}
BROKEN_ENTRY_POINTS: dict[str, str] = {}  # entry point -> why it did not load
_owner_of: list[Callable[[str], str | None]] = []
_entry_points_read = False


def register(
    name: str,
    *,
    paper: str,
    inputs: Inputs = "one",
    output: Output | None = None,
    pyramid: bool = False,
    repeats: Repeats = "stack",
    positional: Iterable[str] = (),
    replaces_csp: bool = False,
    fixed: Mapping[str, Any] | None = None,
    min_batch: int = 1,
    checked: Iterable[str] = (),
) -> Callable[[T], T]:
    """Make a module class the layer type ``name``. The arguments are those of :class:`BlockSpec`.

    ``output`` defaults to the input's channels, for a list to those of its last input.

    Raises:
        ValueError: If the name is taken, by another block or by Ultralytics, or an argument makes no sense.
    """
    if not name.isidentifier():
        raise ValueError(f"block name {name!r} must be a Python identifier, as it stands in a model YAML")
    if inputs not in ("one", "list", "pyramid"):
        raise ValueError(f"block {name!r}: inputs={inputs!r} must be 'one', 'list' or 'pyramid'")
    if repeats not in ("stack", "argument", "never"):
        raise ValueError(f"block {name!r}: repeats={repeats!r} must be 'stack', 'argument' or 'never'")
    if output is None:
        output = "input" if inputs == "one" else -1
    index = isinstance(output, int) and not isinstance(output, bool)
    if output not in ("input", "argument") and not index and not callable(output):
        raise ValueError(
            f"block {name!r}: output={output!r} must be 'input', 'argument', the index of an input or a function"
        )
    if inputs != "one" and output == "input":
        raise ValueError(f"block {name!r}: a list of inputs needs output='argument' or the index of one of them")
    if pyramid and not callable(output):
        raise ValueError(f"block {name!r}: a pyramid needs an output function that returns the channels of its maps")
    if inputs == "one" and isinstance(output, int):
        raise ValueError(f"block {name!r}: output={output!r} needs inputs='list'; with one input 'input' or 'argument'")

    def add(cls: T) -> T:
        if not isinstance(cls, type):
            raise TypeError(f"block {name!r} must be a class, got {cls!r}")
        spec = BlockSpec(
            name=name,
            cls=cls,
            paper=paper,
            inputs=inputs,
            output=output,
            pyramid=pyramid,
            repeats=repeats,
            positional=tuple(positional),
            replaces_csp=replaces_csp,
            fixed=dict(fixed or {}),
            min_batch=min_batch,
            checked=tuple(checked),
        )
        old = BLOCKS.get(name)
        if old is not None and old.import_path != spec.import_path:  # the same class again: its module was reloaded
            raise ValueError(f"block name {name!r} is already taken by {old.import_path}; cannot give it to {spec.import_path}")
        for owner_of in _owner_of:
            owner = owner_of(name)
            if owner is not None and owner != spec.import_path:
                raise ValueError(f"block name {name!r} is already taken by {owner}; cannot give it to {spec.import_path}")
        missing = [o for o in spec.positional if o not in spec.options()]
        if missing:
            raise ValueError(f"block {name!r}: positional names {missing}, which {spec.import_path} does not have")
        absent = [o for o in spec.fixed if o not in inspect.signature(cls).parameters]
        if absent:
            raise ValueError(f"block {name!r}: fixed names {absent}, which {spec.import_path} does not have")
        if repeats == "argument" and "n" not in inspect.signature(cls).parameters:
            raise ValueError(f"block {name!r}: repeats='argument' needs an argument n of {spec.import_path}")
        BLOCKS[name] = spec
        return cls

    return add


def unregister(name: str) -> None:
    """Take ``name`` out of the table.

    Raises:
        KeyError: If it is not there.
    """
    get(name)
    del BLOCKS[name]


def add_name_check(owner_of: Callable[[str], str | None]) -> None:
    """Have every later registration ask ``owner_of(name)`` who already has that name (None: nobody)."""
    if owner_of not in _owner_of:
        _owner_of.append(owner_of)


def get(name: str) -> BlockSpec:
    """Return the entry for ``name``.

    Raises:
        KeyError: If there is none; the message lists the names and the nearest one.
    """
    try:
        return BLOCKS[name]
    except KeyError:
        raise KeyError(f"unknown block {name!r}.{nearest(name, BLOCKS)} Known: {', '.join(sorted(BLOCKS))}") from None


def not_loaded() -> str:
    """Return a clause about the entry points that did not load, or an empty string."""
    return "".join(f" (the blocks {entry} did not load: {why})" for entry, why in BROKEN_ENTRY_POINTS.items())


def load_entry_points() -> None:
    """Import the blocks of installed packages, once. One that fails is noted in ``BROKEN_ENTRY_POINTS``."""
    global _entry_points_read
    if _entry_points_read:
        return
    for point in importlib.metadata.entry_points(group=ENTRY_POINT_GROUP):
        try:
            point.load()
        except Exception as error:  # a broken third-party package must not take YOLO down with it
            package = point.dist.name if point.dist else "?"
            BROKEN_ENTRY_POINTS[f"{point.name} of {package}"] = f"{type(error).__name__}: {error}"
    _entry_points_read = True  # last: another thread that parses a model meanwhile must not do without them
