"""The public Python surface: ``docs/api.md`` lists it. ``python tests/test_api.py`` writes the page."""

import inspect
import re
from pathlib import Path

import pytest

import yolo_attn
from yolo_attn import errors
from yolo_attn.docstrings import summary

pytestmark = pytest.mark.fast
PAGE = Path(__file__).parents[1] / "docs" / "api.md"
HEAD = """\
# Python API

These names, their arguments and the order of the arguments are public: they change only as the deprecation policy in
[CONTRIBUTING.md](../CONTRIBUTING.md) says. Other modules may change. `import yolo_attn` is cheap: a name's module is
imported when the name is first used. `help(yolo_attn.place)` explains the arguments.
"""
ERRORS = """\
## Errors

Invalid input raises one of these; the message says what is wrong, where, and what to write instead. All are subclasses
of `yolo_attn.errors.UserError`.

| error | raised if |
|---|---|
"""


def signature(thing):
    text = str(inspect.signature(thing))
    text = re.sub(r"(: |-> )'([^']*)'", r"\1\2", text)  # annotations are strings
    if len(text) > 90:
        text = "(\n    " + re.sub(r", (?=\*|\w+[:=])", ",\n    ", text[1:].replace(") ->", ",\n) ->", 1))
    return text


def page():
    parts = [HEAD]
    for name in sorted(yolo_attn.__all__, key=str.lower):
        thing = getattr(yolo_attn, name)
        kind = "class " if inspect.isclass(thing) else ""
        parts.append(
            f"## `{name}`\n\n```python\n{kind}yolo_attn.{name}{signature(thing)}\n```\n\n{summary(thing)}\n".replace(
                " ``", " `"
            )
            .replace("`` ", "` ")
            .replace("``.", "`.")
            .replace("``,", "`,")
        )
    found = [e for e in vars(errors).values() if inspect.isclass(e) and issubclass(e, errors.UserError)]
    rows = [f"| `{e.__name__}` ({e.__bases__[-1].__name__}) | {summary(e)} |" for e in found]
    return "\n".join([*parts, ERRORS + "\n".join(rows)]) + "\n"


def test_the_page_lists_what_there_is():
    assert PAGE.read_text(encoding="utf-8") == page(), "write it again: python tests/test_api.py"


def test_every_name_is_importable_and_nothing_else():
    assert sorted(yolo_attn.__all__) == list(yolo_attn.__all__)
    assert set(yolo_attn._MODULES) == set(yolo_attn.__all__) <= set(dir(yolo_attn))
    with pytest.raises(AttributeError, match="'nothing'"):
        _ = yolo_attn.nothing


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
