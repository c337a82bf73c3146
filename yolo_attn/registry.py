"""The table of layer types by name. It needs neither torch nor Ultralytics.

A layer type is what a model YAML names: a module class, and what the parser must know about it to build it.

    import yolo_attn

    @yolo_attn.register("MyAttention")
    class MyAttention(nn.Module):
        def __init__(self, channels: int, reduction: int = 16): ...

An installed package announces its layers through the entry point group ``yolo_attn.blocks``. Each entry names a module
that registers them when it is imported.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

T = TypeVar("T", bound=type)

ENTRY_POINT_GROUP = "yolo_attn.blocks"
Inputs = Literal["one", "list", "pyramid"]
OutputFunction = Callable[[list[int], dict[str, Any]], "int | list[int]"]
Output = Literal["input", "argument"] | int | OutputFunction
Repeats = Literal["stack", "argument", "never"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportLimit:
    """Say what a block cannot be exported to. The export is refused before it starts, with these words.

    Attributes:
        formats: Formats, by the names that ``yolo export format=`` takes, and ``"torch.export"``; empty for all that
            have an ONNX opset.
        opset: Lowest ONNX opset that works; 0 if none does.
        options: The limit holds only if each of these options has one of these values; empty: always.
        dynamic: True if the limit holds only for graphs of any size: ``yolo export dynamic=True``.
        reason: Why, as the end of a sentence: ``"ncnn has no operator for it"``.
        works: What to write instead; empty if nothing works.

    Raises:
        ValueError: If there is neither a format nor an opset, or no reason.
    """

    formats: tuple[str, ...] = ()
    opset: int = 0
    options: Mapping[str, Sequence[Any]] = field(default_factory=dict, hash=False)
    dynamic: bool = False
    reason: str
    works: str = ""

    def __post_init__(self) -> None:
        if not self.formats and not self.opset:
            raise ValueError(f"an export limit must name formats or an opset; its reason is {self.reason!r}")
        if not self.reason:
            raise ValueError(f"an export limit must have a reason; it is for {self.formats or f'opset {self.opset}'}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportForm:
    """Say that a block is computed in another way in exported graphs, with the same result.

    Attributes:
        form: What is computed instead: ``"grouped convolutions"``.
        formats: Formats, by the names that ``yolo export format=`` takes; empty for all.
        reason: Why, as the end of a sentence: ``"ncnn has no batch axis"``.
    """

    form: str
    formats: tuple[str, ...] = ()
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockSpec:
    """Describe a layer type without building it.

    Attributes:
        name: Layer type as a model YAML writes it.
        cls: Module class, called as ``cls(channels, **options)``; see :meth:`build`.
        summary: What the layer does, in one sentence of at most 35 characters, for the table of `yolo-attn blocks`.
        paper: URL of the paper; empty if there is none.
        inputs: ``"one"`` map; a ``"list"`` of maps (``from`` is then a list); or a ``"pyramid"``, the list of maps that
            one other layer returns. ``channels`` is a list for the last two.
        output: Where the number of output channels comes from: ``"input"``, the input; ``"argument"``, the row's first
            argument, scaled by the model's width and passed as the second argument of the class; the index of an
            input; or a function of the input channels and the row's options. Default: the input, or the last of a list.
        pyramid: True if the layer returns a list of maps. ``output`` is then a function that returns a list. A row
            takes one map of it through a layer with ``inputs="pyramid"``, such as PyramidLevel.
        repeats: Meaning of a repeat count above 1, after depth scaling: ``"stack"``, that many layers in sequence;
            ``"argument"``, one layer built with ``n=count``; ``"never"``, an error.
        positional: Options that a row may give by position, in order. Empty by default, because users take a bare
            number in a row for a channel count, and channel counts are filled in.
        replaces_csp: True if the layer replaces C3k2, A2C2f or C2fCIB. The detection head is then built as after those
            (YOLO11 and later), not as after C2f.
        fixed: Options with a fixed value in a model; a row cannot give them. They turn a class that returns something
            else, such as a bare attention map, into a layer that returns a map of the input's size.
        checked: What the tests compare the block with: ``"authors"``, outputs of the authors' code; ``"loop"``, a
            literal float64 loop over the paper's equations.
        export_limits: What the block cannot be exported to, each an :class:`ExportLimit`.
        export_forms: How exported graphs compute the block, each an :class:`ExportForm`; empty: as in PyTorch.

    Raises:
        TypeError: If ``cls`` is not a class.
        ValueError: If a value is unknown, or values do not fit each other or the constructor of ``cls``.
    """

    name: str
    cls: type
    summary: str = ""
    paper: str = ""
    inputs: Inputs = "one"
    output: Output = None  # type: ignore[assignment]  # never None: __post_init__ sets the default
    pyramid: bool = False
    repeats: Repeats = "stack"
    positional: tuple[str, ...] = ()
    replaces_csp: bool = False
    fixed: Mapping[str, Any] = field(default_factory=dict, hash=False)
    checked: tuple[str, ...] = ()
    export_limits: tuple[ExportLimit, ...] = ()
    export_forms: tuple[ExportForm, ...] = ()

    def __post_init__(self) -> None:
        block = f"block {self.name!r}"
        if not isinstance(self.name, str) or not self.name.isidentifier():
            raise ValueError(f"block name {self.name!r} must be a Python identifier, as in a model YAML")
        if not isinstance(self.cls, type):
            raise TypeError(f"{block} must be a class, got {self.cls!r}")
        for what, value, known in (
            ("inputs", self.inputs, ("one", "list", "pyramid")),
            ("repeats", self.repeats, ("stack", "argument", "never")),
        ):
            if value not in known:
                raise ValueError(f"{block}: {what}={value!r} must be {', '.join(map(repr, known))}")
        if self.output is None:
            object.__setattr__(self, "output", "input" if self.inputs == "one" else -1)
        for what in ("positional", "checked", "export_limits", "export_forms"):
            object.__setattr__(self, what, tuple(getattr(self, what)))
        index = isinstance(self.output, int) and not isinstance(self.output, bool)
        if self.output not in ("input", "argument") and not index and not callable(self.output):
            raise ValueError(
                f"{block}: output={self.output!r} must be 'input', 'argument', the index of an input or a function"
            )
        if self.output == "input" and self.inputs != "one":
            raise ValueError(f"{block}: output='input' needs inputs='one'; give 'argument' or the index of an input")
        if index and self.inputs == "one":
            raise ValueError(f"{block}: output={self.output!r} needs inputs='list'; give 'input' or 'argument'")
        if self.pyramid and not callable(self.output):
            raise ValueError(f"{block}: pyramid=True needs an output function that returns the channels of its maps")
        parameters = inspect.signature(self.cls).parameters
        named: tuple[tuple[str, Iterable[str], Mapping[str, Any]], ...] = (
            ("positional", self.positional, self.options()),
            ("fixed", self.fixed, parameters),
            ("repeats='argument'", ["n"] if self.repeats == "argument" else [], parameters),
            ("export_limits", [name for limit in self.export_limits for name in limit.options], self.options()),
        )
        for what, names, accepted in named:
            if missing := [n for n in names if n not in accepted]:
                raise ValueError(f"{block}: {what} names {missing}, but {self.import_path} has no such argument")

    @property
    def import_path(self) -> str:
        """Return module and name of the class."""
        return f"{self.cls.__module__}.{self.cls.__qualname__}"

    def options(self) -> dict[str, inspect.Parameter]:
        """Return the constructor's arguments that a row can give, by name: no channels, and none that is fixed."""
        parameters = list(inspect.signature(self.cls).parameters.values())
        named = [p for p in parameters[2 if self.output == "argument" else 1 :] if p.kind != p.VAR_KEYWORD]
        hidden = {*self.fixed, *(["n"] if self.repeats == "argument" else [])}
        return {p.name: p for p in named if p.kind != p.VAR_POSITIONAL and p.name not in hidden}

    def build(self, channels: int | list[int], *args: Any, **options: Any) -> Any:
        """Build the layer as a model does, with the fixed options."""
        return self.cls(channels, *args, **options, **self.fixed)


# The layer types of yolo_attn.blocks, for code that runs without torch and so cannot import them.
SHIPPED = (
    "AttentionAugmentedConv", "AttentionFPN", "ChannelAttn", "EMA", "GSoP", "GlobalContext", "GlobalLocalAttention",
    "HardAttn", "HarmAttn", "ImprovedLocalAttention", "MultiHeadGlobalAttention", "PMFS", "PMFSChannel", "PMFSSpatial",
    "PyramidLevel", "SoftAttn", "SpatialAttn",
)  # fmt: skip
BLOCKS: dict[str, BlockSpec] = {}
BROKEN_ENTRY_POINTS: dict[str, str] = {}  # entry point -> why it did not load
_name_owners: list[Callable[[str], str | None]] = []
_entry_points_read = False


def register(name: str, **spec: Any) -> Callable[[T], T]:
    """Register a module class as the layer type ``name``; the arguments are the attributes of :class:`BlockSpec`.

    Raises:
        TypeError: If an argument is unknown, or the decorated object is not a class.
        ValueError: If another block or Ultralytics already uses the name, or an argument is wrong.
    """

    def add(cls: T) -> T:
        new = BlockSpec(name=name, cls=cls, **spec)
        old = BLOCKS.get(name)
        owners = [old.import_path if old else None, *(owner_of(name) for owner_of in _name_owners)]
        for owner in owners:
            if owner not in (None, new.import_path):  # the same class again: its module was reloaded
                raise ValueError(
                    f"block name {name!r} is already taken by {owner}; cannot give it to {new.import_path}"
                )
        BLOCKS[name] = new
        return cls

    return add


def add_name_check(owner_of: Callable[[str], str | None]) -> None:
    """Make later registrations refuse names for which ``owner_of(name)`` returns an import path instead of None."""
    if owner_of not in _name_owners:
        _name_owners.append(owner_of)


def not_loaded() -> str:
    """Return a clause that names the entry points that failed to load, or an empty string."""
    return "".join(f" (the blocks {entry} did not load: {why})" for entry, why in BROKEN_ENTRY_POINTS.items())


def load_entry_points() -> None:
    """Import the blocks of installed packages, once. Failures are collected in ``BROKEN_ENTRY_POINTS``."""
    global _entry_points_read
    if _entry_points_read:
        return
    from importlib.metadata import entry_points  # start-up time

    for point in entry_points(group=ENTRY_POINT_GROUP):
        try:
            point.load()
        except Exception as error:  # a broken third-party package must not break YOLO
            package = point.dist.name if point.dist else "?"
            BROKEN_ENTRY_POINTS[f"{point.name} of {package}"] = f"{type(error).__name__}: {error}"
    _entry_points_read = True  # last: another thread may parse a model meanwhile and needs them
