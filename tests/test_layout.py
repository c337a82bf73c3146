"""The architecture: which package may import which, how, and what modules are called."""

import ast
import re
from pathlib import Path

import pytest

import yolo_attn

pytestmark = pytest.mark.fast

ROOT = Path(yolo_attn.__file__).parent
ORDER = (
    "errors", "messages", "atomic_files", "text_files", "docstrings", "log_level", "registry", "blocks", "alignment",
    "data", "metrics", "integration", "model_yaml", "statistics", "experiment", "comparison", "report", "cli",
    "testing",
)  # fmt: skip
START_UP = re.compile(r"# start-up time\b")
LEFTOVERS = {"written", "fit", "differing", "tidy", "pace", "slips", "mistakes", "figures", "words", "utils", "helpers"}
FILES = sorted(f for f in ROOT.rglob("*.py") if "startup" not in f.parts)


def module_of(file):
    parts = file.relative_to(ROOT.parent).with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" else parts


MODULES = {module_of(f) for f in FILES}


def imports(file):
    """Yield (node, at module level, the imported module's parts) for imports of this project."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    package = module_of(file) if file.name == "__init__.py" else module_of(file)[:-1]
    at_top = {id(n) for n in ast.walk(tree) if isinstance(n, (ast.Import, ast.ImportFrom))} - {
        id(n) for f in ast.walk(tree) if isinstance(f, (ast.FunctionDef, ast.Lambda)) for n in ast.walk(f)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1] + tuple(
                (node.module or "").split(".") if node.module else ()
            )
            for name in node.names:
                module = (*base, name.name)
                yield node, id(node) in at_top, module if module in MODULES else base
        elif (isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "yolo_attn") or (
            isinstance(node, ast.Import) and any(a.name.partition(".")[0] == "yolo_attn" for a in node.names)
        ):
            yield node, id(node) in at_top, None


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.relative_to(ROOT).as_posix())
def test_imports(file):
    lines = file.read_text(encoding="utf-8").splitlines()
    mine = module_of(file)[1:]
    for node, at_top, target in imports(file):
        where = f"{file.relative_to(ROOT)}:{node.lineno}"
        assert target is not None, f"{where}: import this package's modules relatively"
        if mine and mine[0] in ORDER and len(target) > 1:
            assert ORDER.index(target[1]) <= ORDER.index(mine[0]), f"{where}: {mine[0]} may not import {target[1]}"
        if not at_top and mine:
            line = lines[node.end_lineno - 1]
            assert START_UP.search(line), (
                f"{where}: import at the top of the file, or end the line in '# start-up time'"
            )


def test_one_name_for_one_thing():
    defined = {}
    for file in FILES:
        if "cli" in file.relative_to(ROOT).parts:
            continue  # modules there are named after their commands
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
                defined.setdefault(node.name, file)
    names = {m[-1] for m in MODULES if len(m) > 1 and m[1] != "cli"}
    assert not names & set(defined), {n: str(defined[n]) for n in names & set(defined)}
    assert not names & LEFTOVERS
    assert {m[1] for m in MODULES if len(m) > 1} <= {*ORDER, "__main__"}
