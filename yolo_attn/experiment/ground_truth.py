"""The objects that all runs of a comparison are evaluated on: ``ground_truth.json``, kept once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ..atomic_files import write_json
from ..errors import DataError
from .plan import Plan
from .storage import read_json


def keep(plan: Plan, run: str, truth: dict[str, Any], where: str = "") -> dict[str, Any]:
    """Keep the ground truth of a run in the comparison's folder if there is none yet; returns what is kept.

    Args:
        plan: The comparison.
        run: Name of the run that was evaluated on it.
        truth: In COCO's format; ``info`` has the images' folder as ``root``, kept relative to the comparison's.
        where: The machine that evaluated it, if it is another.

    Raises:
        DataError: If another run was evaluated on other images or boxes.
    """
    path = plan.folder / "ground_truth.json"
    kept: dict[str, Any] | None = read_json(path)
    if kept is None:
        root = _relative(truth["info"]["root"], plan.folder)
        kept = {**truth, "info": {**truth["info"], "root": root}}
        write_json(path, kept, indent=None)
    elif any(kept[key] != truth[key] for key in ("images", "annotations", "categories")):
        place = f" on {where}" if where else ""
        raise DataError(
            f"{run} was validated{place} on other images or boxes than {path} holds; the data set {plan.data} "
            f"{'is another one there' if where else 'has changed'}"
        )
    return kept


def _relative(path: str, folder: Path) -> str:
    try:
        return Path(os.path.relpath(path, folder.resolve())).as_posix()
    except ValueError:  # another drive
        return path
