"""``ultralytics.nn.tasks.parse_model`` with one more branch.

``parse_model`` decides by a chain of ``if m in ...`` what a row's layer is built with and how many channels it puts
out. The installed version's own source is taken, one branch is put at the head of that chain,

    if m in <our classes>:
        m, args, n, c2 = <rows.build_arguments>(...)
        legacy = legacy and not m.replaces_csp
    elif ...  # the chain as it was

and the function is compiled again in its own module. What the branch relies on is looked for first; that every row
became the right class with the right inputs is looked at afterwards. A model without our layers is built by the
untouched original.
"""

from __future__ import annotations

import ast
import functools
import inspect
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from ...errors import LayerError, UnsupportedUltralyticsError, UserError
from ...messages import nearest
from ...registry import BlockSpec, not_loaded
from ..queries import layer_types, yaml_files
from . import row_arguments

SUPPORTED = "8.3.0 to 8.4.190"
MARKER = "yolo_attn_layer"  # attribute of every layer that we built; checkpoints carry it

_CLASSES, _BRANCH = "_yolo_attn_classes", "_yolo_attn_row"


def extended(original: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap ``parse_model`` so that it also builds the layers of the registry."""
    compiled: list[Callable[..., Any]] = []
    tasks = sys.modules[layer_types.TASKS]

    @functools.wraps(original)
    def parse_model(d: dict[str, Any], ch: int, *args: Any, **kwargs: Any) -> Any:
        known = layer_types.installed()
        file = Path(str(d.get("yaml_file") or "model YAML")).name
        if not names_any(known, d):
            try:
                return original(d, ch, *args, **kwargs)
            except Exception:
                _checked(d, file, tasks)  # says which row it is, where that can be seen
                raise
        table, used = _checked(d, file, tasks)
        if not compiled:
            compiled.append(with_branch(original, tasks))
        for spec in used.values():
            vars(tasks)[spec.name] = spec.cls
            layer_types.INJECTED.add(spec.name)
        vars(tasks)[_CLASSES] = {spec.cls: spec for spec in known.values()}
        vars(tasks)[_BRANCH] = _branch
        split = len(d["backbone"])
        for i in used:
            table[i][3] = row_arguments.shield(table[i][3])
        activation = tasks.Conv.default_act
        try:
            model, save = compiled[0]({**d, "backbone": table[:split], "head": table[split:]}, ch, *args, **kwargs)
        except Exception as error:
            tasks.Conv.default_act = activation  # an `activation:` in the YAML must not outlive the failure
            raise _located(error, file) from error
        _verify(model, table, used)
        return model, save

    return parse_model


def forget() -> None:
    """Take the names out of ``ultralytics.nn.tasks`` that were put there."""
    tasks = sys.modules.get(layer_types.TASKS)
    for name in (*layer_types.INJECTED, _CLASSES, _BRANCH):
        if tasks is not None:
            vars(tasks).pop(name, None)
    layer_types.INJECTED.clear()


def with_branch(original: Callable[..., Any], tasks: ModuleType) -> Callable[..., Any]:
    """Compile ``parse_model`` again with our branch at the head of its chain.

    Raises:
        UnsupportedUltralyticsError: If the function is not built as expected.
    """
    code = getattr(original, "__code__", None)
    if code is None or code.co_name != "parse_model" or code.co_filename != tasks.__file__:
        raise _unsupported(f"parse_model was already replaced by {code or original!r}")
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(original)))
    except (OSError, SyntaxError) as error:
        raise _unsupported("the source of parse_model cannot be read") from error
    function = tree.body[0]
    assert isinstance(function, ast.FunctionDef), "inspect.getsource of a function gives a function"
    loop, place = _find_chain(function)
    text = f"if m in {_CLASSES}:\n    m, args, n, c2 = {_BRANCH}({_CLASSES}[m], i, f, n, args, ch, d)"
    if "legacy" in _stored(function):
        text += "\n    legacy = legacy and not m.replaces_csp"
    elif hasattr(tasks.Detect, "legacy"):
        raise _unsupported("parse_model has no variable 'legacy', by which it chooses the detection head")
    branch = ast.parse(text).body[0]
    assert isinstance(branch, ast.If), "the text above is an if"
    chain = loop.body[place]
    for node in ast.walk(branch):
        ast.copy_location(node, chain)
    branch.orelse = [chain]
    loop.body[place] = branch
    ast.increment_lineno(tree, code.co_firstlineno - 1)
    space: dict[str, Any] = {}
    exec(compile(ast.fix_missing_locations(tree), code.co_filename, "exec"), vars(tasks), space)
    function_ = space["parse_model"]
    function_.__defaults__, function_.__kwdefaults__ = original.__defaults__, original.__kwdefaults__
    return function_


def _find_chain(function: ast.FunctionDef) -> tuple[ast.For, int]:
    """Find the loop over the rows and the place in it of the one if-chain that sets ``c2``."""
    wanted = {"i", "f", "n", "m", "args"}
    loops = [s for s in function.body if isinstance(s, ast.For) and wanted <= _stored(s.target)]
    if len(loops) != 1:
        raise _unsupported(f"expected one loop over rows (from, n, module, args) in parse_model, found {len(loops)}")
    chains = [k for k, s in enumerate(loops[0].body) if isinstance(s, ast.If) and "c2" in _stored(s)]
    if len(chains) != 1:
        raise _unsupported(f"expected one if-chain that sets c2 in parse_model, found {len(chains)}")
    missing = {"d", "ch"} - {a.arg for a in function.args.args}
    if missing:
        raise _unsupported(f"parse_model has no argument {', '.join(sorted(missing))}")
    rest = loops[0].body[chains[0] + 1 :]
    called = [x for s in rest for x in ast.walk(s) if isinstance(x, ast.Call) and ast.unparse(x) == "m(*args)"]
    appended = [s for s in rest if ast.unparse(s) == "ch.append(c2)"]
    if not called or len(appended) != 1 or any("c2" in _stored(s) for s in rest):
        raise _unsupported("parse_model does not build m(*args) and append c2 to ch after the if-chain")
    return loops[0], chains[0]


def _stored(node: ast.AST) -> set[str]:
    return {x.id for x in ast.walk(node) if isinstance(x, ast.Name) and isinstance(x.ctx, ast.Store)}


def _branch(spec: BlockSpec, i: int, f: Any, n: int, args: list[Any], ch: list[Any], d: dict[str, Any]) -> Any:
    return row_arguments.build_arguments(spec, i, f, n, args, ch, d)


def names_any(known: dict[str, BlockSpec], d: dict[str, Any]) -> bool:
    """Say whether a row of the model YAML names one of the ``known`` layers."""
    parts = [p for p in (d.get("backbone"), d.get("head")) if isinstance(p, list | tuple)]
    names = [row[2] for p in parts for row in p if isinstance(row, list | tuple) and len(row) > 2]
    return any(isinstance(name, str) and name in known for name in names)


def _checked(d: dict[str, Any], file: str, tasks: ModuleType) -> tuple[list[list[Any]], dict[int, BlockSpec]]:
    """Return a copy of all rows, and which of them are layers of the registry.

    Raises:
        LayerError: If a row is malformed, names no known layer, or reads a layer that is not there.
    """
    known = layer_types.installed()
    table = _table(d, file)
    used: dict[int, BlockSpec] = {}
    for i, (f, _, name, _) in enumerate(table):
        try:
            if name in known:
                _check_name_is_free(known[name], tasks)
                used[i] = known[name]
            else:
                _check_exists(name, tasks)
            row_arguments.check_from(f, i)
            _check_reads_maps(f, i, used)
        except LayerError as error:
            raise LayerError(f"{file}: layer {i} ({name}): {error}") from None
    return table, used


def _check_reads_maps(f: Any, i: int, used: dict[int, BlockSpec]) -> None:
    """Check that a row reads no list of maps as if it were one map.

    Raises:
        LayerError: If it does; names the layers that read one map of a list.
    """
    if i in used and used[i].inputs == "pyramid":
        return
    for x in f if isinstance(f, list | tuple) else [f]:
        source = used.get(x + i if x < 0 else x)
        if source is not None and source.pyramid:
            readers = " or ".join(sorted(s.name for s in layer_types.installed().values() if s.inputs == "pyramid"))
            raise LayerError(
                f"'from' is {x}, {source.name}, which puts out a list of maps; read one of them through {readers}"
            )


def _table(d: dict[str, Any], file: str) -> list[list[Any]]:
    """Return a copy of all rows.

    Raises:
        LayerError: If the YAML does not hold rows of four.
    """
    parts: list[Any] = [d.get("backbone"), d.get("head")]
    if not all(isinstance(p, list) for p in parts):
        raise LayerError(f"{file}: {yaml_files.NO_MODEL}")
    table = [row for p in parts for row in p]
    for i, row in enumerate(table):
        if not isinstance(row, list | tuple) or len(row) != 4 or not isinstance(row[2], str):
            raise LayerError(f"{file}: layer {i}: a row must be [from, repeats, layer, arguments], got {row!r}")
        if not isinstance(row[3], list | tuple):
            raise LayerError(
                f"{file}: layer {i} ({row[2]}): arguments must be a list, got {row[3]!r}; write [] for none"
            )
    return [[f, n, name, list(args)] for f, n, name, args in table]


def _check_name_is_free(spec: BlockSpec, tasks: ModuleType) -> None:
    there = vars(tasks).get(spec.name, spec.cls)
    if there is not spec.cls and spec.name not in layer_types.INJECTED:
        theirs = f"{getattr(there, '__module__', layer_types.TASKS)}.{getattr(there, '__qualname__', spec.name)}"
        raise LayerError(
            f"{spec.name} is both {theirs} of this Ultralytics and {spec.import_path}; register the block under another name"
        )


def _check_exists(name: str, tasks: ModuleType) -> None:
    """Check that Ultralytics will find the layer.

    Raises:
        LayerError: If it will not; names the most similar layers.
    """
    if "nn." in name or "torchvision.ops." in name:
        module = tasks.torch.nn if "nn." in name else None
        found = module is None or hasattr(module, name.rpartition("nn.")[2])
        choices = [f"nn.{k}" for k in vars(module) if k[:1].isupper()] if module else []
    else:
        found = name in vars(tasks) and name not in layer_types.INJECTED
        choices = [*layer_types.installed(), *layer_types.ultralytics_layers(tasks)]
    if found:
        return
    ours = ", ".join(sorted(layer_types.installed()))
    raise LayerError(f"unknown layer {name!r}.{nearest(name, choices)} Layers of yolo-attn: {ours}{not_loaded()}")


def _located(error: Exception, file: str) -> UserError:
    """Name the row in which ``parse_model`` failed, read from the frame that failed."""
    if isinstance(error, UnsupportedUltralyticsError):
        return error
    trace = error.__traceback__
    while trace is not None:
        there = trace.tb_frame.f_locals
        if trace.tb_frame.f_code.co_name == "parse_model" and {"i", "f", "m", "args", "n_"} <= there.keys():
            m, args = there["m"], row_arguments.describe(there["args"])
            name = m.spec.name if isinstance(m, row_arguments.Builder) else getattr(m, "__name__", str(m))
            what = str(error)
            if not isinstance(error, ValueError):
                what = f"cannot be built from {there['f']} with arguments {args}: {type(error).__name__}: {error}"
            if not isinstance(m, row_arguments.Builder) and not isinstance(
                error, LayerError
            ):  # right for another version?
                what += f" (Ultralytics {_version()})"
            return LayerError(f"{file}: layer {there['i']} ({name}): {what}")
        trace = trace.tb_next
    return LayerError(f"{file}: {type(error).__name__}: {error}")


def _verify(model: Any, table: list[list[Any]], used: dict[int, BlockSpec]) -> None:
    """Check that every one of our rows became its class, reading what the row says, and mark it."""
    if len(model) != len(table):
        raise _unsupported(f"parse_model made {len(model)} layers of {len(table)} rows")
    for i, spec in used.items():
        layer = model[i]
        stacked = type(layer) is not spec.cls
        parts = list(layer) if stacked and type(layer).__name__ == "Sequential" else [layer]
        if not parts or any(type(p) is not spec.cls for p in parts) or layer.f != table[i][0] or layer.i != i:
            raise _unsupported(
                f"layer {i} should be {spec.import_path} reading {table[i][0]}, but parse_model made {layer!r:.80}"
            )
        if not hasattr(layer, "np"):  # 8.3.0 sets it on the class it called, here the builder
            layer.np = sum(p.numel() for p in layer.parameters())
        for part in parts:
            setattr(part, MARKER, spec.name)


def _unsupported(why: str) -> UnsupportedUltralyticsError:
    return UnsupportedUltralyticsError(
        f"cannot add layers to Ultralytics {_version()}: {why}; versions {SUPPORTED} work"
    )


def _version() -> str:
    import ultralytics

    return ultralytics.__version__
