"""docs/formats.md is what the classes of the files say. Rewrite it with ``python tests/test_formats.py``."""

from __future__ import annotations

import dataclasses
import inspect
import re
import typing
from pathlib import Path

import msgspec
import pytest

from yolo_attn.experiment import costs, data_set_file, ground_truth_file, plan, records, results
from yolo_attn.report import csv_tables

pytestmark = pytest.mark.fast

PAGE = Path(__file__).parents[1] / "docs" / "formats.md"
FILES = {
    "plan.json": plan.PlanFile,
    "data.json": data_set_file.DataFingerprint,
    "pairing.json": data_set_file.Pairing,
    "ground_truth.json": ground_truth_file.GroundTruth,
    "cost.json": costs.Costs,
    "results.json": results.Results,
    "RUN/record.json": records.Record,
    "RUN/sessions.json": records.Sessions,
    "RUN/transfer.json": records.Transfer,
    "RUN/progress.json": records.Progress,
    "RUN/error.json": records.RunError,
}
ALIASES = {
    "Role": "Literal['baseline', 'variant', 'control']",
    "ControlKind": "Literal['identity', 'capacity', 'repeat']",
    "Epoch": "dict[str, float | None]",
    "VerdictWord": "str",
    "Measured": "float",
    "Share": "float",
    "Sides": "list[float]",
}
INTRODUCTION = """\
# File formats

`yolo-attn compare` keeps an experiment in one folder: these JSON files, a folder for each run (`RUN` below) and the
model YAMLs of the controls. The report adds `results.csv`, `results_by_seed.csv`, `results.md`, `forest.svg` and
`report.html`. Ultralytics adds `results.csv`, `args.yaml` and `weights/` to each run's folder.

Each file has a `format` number. It changes when a key is added, removed or changes its meaning. A file with another
number, an unknown key or a value of another type is refused with one line that names the file and the key. Types are in
Python's notation: `dict` is a JSON object, `list` and `tuple` are arrays, `None` is null. NaN and infinity are stored
as null.
"""
CSV = """\
## `results.csv` and `results_by_seed.csv`

`results.csv` has a row for each model and metric, or cost: {summary}. Metrics are from 0 to 1, differences in points
of 100; a cost has a `ratio` to the baseline instead of a difference.

`results_by_seed.csv` has a row for each model, metric and seed: {by_seed}.
"""


def described(kind):
    """Yield name, type and meaning of each field, those of base classes first."""
    for owner in reversed(kind.__mro__):
        text = inspect.cleandoc(owner.__doc__ or "")
        entries = dict(re.findall(r"^    (\w+): (.*(?:\n {6,}.*)*)", text, re.MULTILINE))
        for name, hint in vars(owner).get("__annotations__", {}).items():
            hint = getattr(hint, "__forward_arg__", hint)
            if not hint.startswith("ClassVar"):
                yield name, hint, " ".join(entries[name].split()).replace("``", "`")


def parts(kind):
    """Return the classes that the fields of ``kind`` name, in order."""
    found = []

    def look(hint):
        if typing.get_args(hint):
            for inner in typing.get_args(hint):
                look(inner)
        elif dataclasses.is_dataclass(hint) or (
            isinstance(hint, type) and (issubclass(hint, msgspec.Struct) or typing.is_typeddict(hint))
        ):
            found.append(hint)

    for hint in typing.get_type_hints(kind).values():
        look(hint)
    return list(dict.fromkeys(found))


def section(kind, heading, anchors):
    """Return heading, summary and table of a class; types of the project link to their tables."""
    summary = inspect.cleandoc(kind.__doc__).split("\n\n")[0]
    lines = [f"{heading}\n\n{summary}\n\n| key | type | meaning |\n|---|---|---|"]
    for name, text, meaning in described(kind):
        for alias, expanded in ALIASES.items():
            text = re.sub(rf"\b{alias}\b", expanded, text)
        names = re.compile(rf"\b({'|'.join(anchors)})\b")
        text = names.sub(lambda found: f"[{found[1]}](#{anchors[found[1]]})", text).replace("|", "\\|")
        lines.append(f"| `{name}` | {text} | {meaning} |")
    return "\n".join(lines) + "\n"


def page():
    """Return the page: each file, followed by the parts that no file before it has."""
    headings = {kind: f"## `{name}`: format {kind.__struct_config__.tag}" for name, kind in FILES.items()}
    order = []

    def add(kind):
        if kind not in order:
            order.append(kind)
            for part in parts(kind):
                if part not in headings:
                    add(part)

    for kind in FILES.values():
        add(kind)
    headings = {kind: headings.get(kind, f"### {kind.__name__}") for kind in order}
    anchors = {k.__name__: re.sub(r"[^\w -]", "", h).strip().lower().replace(" ", "-") for k, h in headings.items()}
    sections = [section(kind, heading, anchors) for kind, heading in headings.items()]
    summary, by_seed = (", ".join(f"`{name}`" for name in names) for names in (csv_tables.SUMMARY, csv_tables.BY_SEED))
    return "\n".join([INTRODUCTION, *sections, CSV.format(summary=summary, by_seed=by_seed)])


def test_the_page_is_what_the_classes_say():
    assert PAGE.read_text(encoding="utf-8") == page()


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
