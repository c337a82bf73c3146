"""The folder of a training that ended before it began."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any


def remove_if_unused(trainer: Any) -> None:
    """Remove the folder of a training that holds nothing but its arguments; keep that of a resumed training."""
    folder = Path(getattr(trainer, "save_dir", None) or "")
    if getattr(trainer, "resume", False) or not (folder / "args.yaml").is_file():
        return
    found = {p.relative_to(folder).as_posix() for p in folder.rglob("*")}
    if found <= {"args.yaml", "weights"}:
        shutil.rmtree(folder)
