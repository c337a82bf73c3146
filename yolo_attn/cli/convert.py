"""``yolo-attn convert``: a model YAML of another project with the layer types of this one."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter
from rich.console import Console

from .. import install
from ..messages import counted
from . import check


def run(model: str, *, output: Annotated[str, Parameter(alias="-o")], force: bool = False) -> int:
    """Convert a model YAML of another project, then check it.

    Knows the names that other projects give to our layers, such as EMA_attention and GCBlock, and what their bare
    numbers mean, such as EMA, [8]. Prints every change with its line. Rows that it does not know stay as they are; the
    check names them.

    Args:
        model: The model YAML of another project.
        output: File to write. Its name gives the version, such as yolo11-mine.yaml.
        force: Overwrite an existing file.

    Examples:
        yolo-attn convert theirs.yaml -o yolov8-ours.yaml
    """
    install()
    from ..model_yaml.conversion import convert  # start-up time

    changes = convert(model, output, force=force)
    console = Console()
    for change in changes:
        before, after = change.before or "(nothing)", change.after or "(deleted)"
        console.print(
            f"line {change.line}: {before} -> {after}  ({change.reason})", markup=False, highlight=False, soft_wrap=True
        )
    console.print(f"Written: {output}, {counted(len(changes), 'change')}.\n", markup=False, highlight=False)
    return check.run(output)
