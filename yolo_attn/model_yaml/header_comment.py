"""Write the comment at the top of a generated model YAML: the command that makes it, its base file and its blocks."""

from __future__ import annotations

import hashlib
import shlex
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .. import docstrings
from ..integration.queries import layer_types, model_graph
from ..integration.queries.yaml_text import one_line
from ..messages import joined

if TYPE_CHECKING:
    from .placing import Insertion


def heading(base: Path, original: str, insertions: Sequence[Insertion], output: str) -> str:
    """Return the comment, followed by a blank line.

    Args:
        base: The base file.
        original: Its text.
        insertions: The inserted blocks.
        output: File name of the result.
    """
    shipped_by = model_graph.origin(base)
    blocks = list(dict.fromkeys(insertion.block for insertion in insertions))
    lines = [
        f"# {base.stem} with {joined(blocks, ' and ')}, made with",
        f"#   {command(base.name, insertions, output)}",
        f"# from {base.name}{f' of {shipped_by}' if shipped_by else ''}, sha256 {fingerprint(original)}.",
    ]
    for block in blocks:
        if (spec := layer_types.installed().get(block)) is not None:
            text = " ".join(filter(None, [f"# {block}: {docstrings.summary(spec.cls)}", spec.paper]))
            lines += textwrap.wrap(text, 120, subsequent_indent="#   ")
    if "summary:" in original:
        lines.append("# The layer and parameter counts below are those of the base model.")
    return "\n".join(lines) + "\n\n"


def command(base: str, insertions: Sequence[Insertion], output: str) -> str:
    """Return the command that makes these insertions."""
    arguments = ["yolo-attn", "place", base]
    for i in insertions:
        arguments += [i.block, "--at", ",".join(i.at)]
        if i.sources:
            arguments += ["--from", ",".join(i.sources)]
        pairs = [_flow(a) for a in i.args] + [f"{k}={_flow(v)}" for k, v in i.options.items()]
        if pairs:
            arguments += ["--args", ",".join(pairs)]
        if i.reroute != "all":
            arguments += ["--reroute", i.reroute]
    return shlex.join([*arguments, "-o", output])


def fingerprint(original: str) -> str:
    """Return the first 12 digits of the SHA-256 of a base file's text."""
    return hashlib.sha256(original.encode()).hexdigest()[:12]


def _flow(value: object) -> str:
    """Return a value as YAML on one line, without spaces."""
    return one_line([value])[1:-1].replace(", ", ",")
