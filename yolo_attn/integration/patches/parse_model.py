"""``ultralytics.nn.tasks.parse_model``: build the layers of the registry too.

``parse_model`` has a chain of ``if m in ...`` that decides how a row's layer is built and how many channels it outputs.
We take the installed version's own source, put one branch at the head of that chain,

    if m in <our classes>:
        m, args, n, c2 = <row_arguments.build_arguments>(...)
        legacy = legacy and not m.replaces_csp
    elif ...  # the chain as it was

and compile the function again in its own module. We first check that the source has everything the branch relies on,
and afterwards that every row became the right class with the right inputs. The untouched original builds models
without our layers.
"""

from __future__ import annotations

import ast
import functools
import inspect
import sys
import textwrap
import traceback
from collections.abc import Callable
from types import ModuleType
from typing import Any

from ...errors import LayerError, UnsupportedUltralyticsError
from ...messages import joined
from ...registry import BlockSpec
from ..queries import layer_types, row_arguments, row_checks, ultralytics_versions
from ..queries.layer_types import MARKER
from ..strict_mode import is_strict

_CLASSES, _BRANCH = "_yolo_attn_classes", "_yolo_attn_row"


def replacement(original: Callable[..., Any], d: dict[str, Any], ch: int, *args: Any, **kwargs: Any) -> Any:
    """Build a model YAML that names one of our layers; leave any other to the original."""
    if not layer_types.names_any(d):
        if is_strict():
            row_checks.check(d)  # before Ultralytics evaluates what it says
        try:
            return original(d, ch, *args, **kwargs)
        except Exception as error:
            if is_strict() and (located := _located(error, row_checks.file_of(d))) is not None:
                raise located from error
            if row_checks.misspells_ours(d):
                row_checks.check(d)  # names the row, where it can be seen
            raise
    tasks = layer_types.tasks()
    table, used = row_checks.check(d)
    compiled = with_branch(original, tasks)
    for spec in used.values():
        vars(tasks)[spec.name] = spec.cls
        layer_types.INJECTED.add(spec.name)
    vars(tasks)[_CLASSES] = {spec.cls: spec for spec in layer_types.installed().values()}
    vars(tasks)[_BRANCH] = row_arguments.build_arguments
    split = len(d["backbone"])
    for i in used:
        table[i][3] = row_arguments.shield(table[i][3])
    activation = tasks.Conv.default_act
    try:
        model, save = compiled({**d, "backbone": table[:split], "head": table[split:]}, ch, *args, **kwargs)
    except Exception as error:
        tasks.Conv.default_act = activation  # an `activation:` in the YAML must not outlive the failure
        located = _located(error, row_checks.file_of(d))
        if located is None:
            raise
        raise located from error
    _verify(model, table, used)
    return model, save


def forget() -> None:
    """Take our names out of ``ultralytics.nn.tasks``."""
    for name in (*layer_types.INJECTED, _CLASSES, _BRANCH) if layer_types.TASKS in sys.modules else ():
        vars(layer_types.tasks()).pop(name, None)
    layer_types.INJECTED.clear()


@functools.lru_cache(maxsize=4)
def with_branch(original: Callable[..., Any], tasks: ModuleType) -> Callable[..., Any]:
    """Compile ``parse_model`` again with our branch at the head of its chain.

    Raises:
        UnsupportedUltralyticsError: If the function differs from what the branch needs.
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
    text = f"if m in {_CLASSES}:\n    m, args, n, c2 = {_BRANCH}({_CLASSES}[m], f, n, args, ch, d)"
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
    built = space["parse_model"]
    built.__defaults__, built.__kwdefaults__ = original.__defaults__, original.__kwdefaults__
    return built


def _find_chain(function: ast.FunctionDef) -> tuple[ast.For, int]:
    """Return the loop over the rows, and the index in it of the if-chain that sets ``c2``."""
    wanted = {"i", "f", "n", "m", "args"}
    loops = [s for s in function.body if isinstance(s, ast.For) and wanted <= _stored(s.target)]
    if len(loops) != 1:
        raise _unsupported(f"expected one loop over rows (from, n, module, args) in parse_model, found {len(loops)}")
    chains = [k for k, s in enumerate(loops[0].body) if isinstance(s, ast.If) and "c2" in _stored(s)]
    if len(chains) != 1:
        raise _unsupported(f"expected one if-chain that sets c2 in parse_model, found {len(chains)}")
    missing = {"d", "ch"} - {a.arg for a in function.args.args}
    if missing:
        raise _unsupported(f"parse_model has no argument {joined(sorted(missing))}")
    rest = loops[0].body[chains[0] + 1 :]
    called = [x for s in rest for x in ast.walk(s) if isinstance(x, ast.Call) and ast.unparse(x) == "m(*args)"]
    appended = [s for s in rest if ast.unparse(s) == "ch.append(c2)"]
    if not called or len(appended) != 1 or any("c2" in _stored(s) for s in rest):
        raise _unsupported("parse_model does not build m(*args) and append c2 to ch after the if-chain")
    return loops[0], chains[0]


def _stored(node: ast.AST) -> set[str]:
    return {x.id for x in ast.walk(node) if isinstance(x, ast.Name) and isinstance(x.ctx, ast.Store)}


def _located(error: Exception, file: str) -> LayerError | None:
    """Return an error that names the row in which ``parse_model`` failed, read from its frame; None for our faults."""
    if isinstance(error, UnsupportedUltralyticsError):
        return None
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_name != "parse_model":
        trace = trace.tb_next
    there = dict(trace.tb_frame.f_locals) if trace else {}  # from Python 3.13 on, its keys() are a list
    m, inner = there.get("m"), trace.tb_next if trace else None
    ours = inner is not None and str(inner.tb_frame.f_globals.get("__name__")).startswith("yolo_attn.")
    built = m.spec if isinstance(m, row_arguments.Builder) else None
    # of our code, only a layer's ValueError or TypeError is about its row
    if ours and not isinstance(error, ValueError | TypeError if built else LayerError):
        return None
    if not {"i", "f", "m", "args"} <= there.keys():
        return LayerError(f"{file}: {type(error).__name__}: {error}")
    name = built.name if built else getattr(m, "__name__", str(m))
    what = str(error).removeprefix(f"{name}: ")
    if not isinstance(error, ValueError):
        args = row_arguments.describe(there["args"])
        said = str(error) or traceback.extract_tb(error.__traceback__)[-1].line  # of a bare assert, its condition
        what = f"cannot be built from {there['f']} with arguments {args}: {type(error).__name__}: {said}"
    if not ours:  # the row may be right for another version
        what += f" (Ultralytics {ultralytics_versions.installed()})"
    return LayerError(f"{file}: layer {there['i']} ({name}): {what}")


def _verify(model: Any, table: list[list[Any]], used: dict[int, BlockSpec]) -> None:
    """Check that every row of ours became its class with its inputs, and mark the layer."""
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
        f"cannot add layers to Ultralytics {ultralytics_versions.installed()}: {why}; versions "
        f"{ultralytics_versions.SUPPORTED} work"
    )
