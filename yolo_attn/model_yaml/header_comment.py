"""The comment at the head of a placed model YAML: the command that makes it, from which file, and the blocks."""

from __future__ import annotations

import hashlib
import shlex
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from .. import docstrings

if TYPE_CHECKING:
    from .placing import Insertion


def heading(base: Path, original: str, insertions: Sequence[Insertion], new: Iterable[str], output: str) -> str:
    """Return the comment, with a blank line behind it.

    Args:
        base: The base file.
        original: Its text.
        insertions: What was put in.
        new: Layer types of the new rows.
        output: Name of the result.
    """
    from ..integration.queries import layer_types, model_graph

    shipped = model_graph.origin(base)
    lines = [
        f"# {base.stem} with {' and '.join(dict.fromkeys(i.block for i in insertions))}, made by",
        f"#   {command(base.name, insertions, output)}",
        f"# from {base.name}{f' of {shipped}' if shipped else ''}, sha256 {fingerprint(original)}.",
    ]
    for block in dict.fromkeys(new):
        spec = layer_types.installed().get(block)
        if spec is not None and spec.inputs != "pyramid":
            lines += textwrap.wrap(
                f"# {block}: {docstrings.summary(spec.cls)} {spec.paper}".strip(), 120, subsequent_indent="#   "
            )
    if "summary:" in original:
        lines.append("# Layer and parameter counts below are the base model's.")
    return "\n".join(lines) + "\n\n"


def command(base: str, insertions: Sequence[Insertion], output: str) -> str:
    """Return the command that makes these insertions."""
    words = ["yolo-attn", "place", base]
    for i in insertions:
        words += [i.block, "--at", ",".join(i.at)]
        if i.sources:
            words += ["--from", ",".join(i.sources)]
        pairs = [_flow(a) for a in i.args] + [f"{k}={_flow(v)}" for k, v in i.options.items()]
        if pairs:
            words += ["--args", ",".join(pairs)]
        if i.reroute != "all":
            words += ["--reroute", i.reroute]
    return shlex.join([*words, "-o", output])


def fingerprint(original: str) -> str:
    """Return what a base file's text is recognised by: the first 12 digits of its SHA-256."""
    return hashlib.sha256(original.encode()).hexdigest()[:12]


def _flow(value: Any) -> str:
    """Return a value as YAML on one line, without spaces."""
    dumped = yaml.safe_dump([value], default_flow_style=True, width=1_000_000).strip()
    return dumped[1:-1].replace(", ", ",")
