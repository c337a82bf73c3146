"""The tables of the versions that test runs covered.

:func:`lines` is printed at the end of ``pytest -m versions``: a row for each Ultralytics. The workflows set
``GITHUB_STEP_SUMMARY``; there each job, with its own Python and torch, adds :func:`summary` to the page of the run.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Iterable, Mapping
from typing import Any

OUTCOMES = ("passed", "failed", "error", "skipped")
OF_A_VERSION = re.compile(  # the files that use the fixture `version`
    r"test_(?:ultralytics_versions|pretrained_versions|pairing)\.py::\w+\[(installed|\d+\.\d+\.\d+)\b"
)


def lines(stats: Mapping[str, Iterable[Any]], installed: str, torch: str) -> list[str]:
    """Return the table's lines; none if no test ran with a version.

    Args:
        stats: pytest's reports by outcome. The version is in brackets in a test's name.
        installed: The installed version of Ultralytics.
        torch: The version of torch.
    """
    counts: dict[str, dict[str, float]] = {}
    for outcome in OUTCOMES:
        for report in stats.get(outcome, ()):
            if found := OF_A_VERSION.search(getattr(report, "nodeid", "")):
                row = counts.setdefault(found[1], dict.fromkeys((*OUTCOMES, "seconds"), 0))
                row[outcome] += 1
                row["seconds"] += report.duration
    if not counts:
        return []
    head = f"Ultralytics, with Python {platform.python_version()} and torch {torch}"
    table = [f"{head:45}{''.join(f'{name:>9}' for name in (*OUTCOMES, 'seconds'))}"]
    for version, row in sorted(counts.items(), key=lambda item: _order(item[0])):
        name = f"{installed} (installed)" if version == "installed" else version
        table.append(f"{name:45}{''.join(f'{row[k]:9.0f}' for k in (*OUTCOMES, 'seconds'))}")
    return table


def summary(stats: Mapping[str, Iterable[Any]], installed: str, torch: str, arguments: str) -> str:
    """Return a table in Markdown with one row: what the run was made with, and how many tests passed and failed.

    Args:
        stats: pytest's reports by outcome.
        installed: The installed version of Ultralytics.
        torch: The version of torch.
        arguments: Those of pytest, which say what ran.
    """
    counts = {outcome: sum(hasattr(report, "nodeid") for report in stats.get(outcome, ())) for outcome in OUTCOMES}
    row = {
        "tests": f"`{' '.join(['pytest', arguments]).strip()}`",
        "system": platform.system(),
        "Python": platform.python_version(),
        "torch": torch,
        "Ultralytics": installed,
        **counts,
    }
    return "\n".join(f"| {' | '.join(map(str, cells))} |" for cells in (row, ["---"] * len(row), row.values()))


def _order(version: str) -> tuple[int, ...]:
    return (10**9,) if version == "installed" else tuple(map(int, version.split(".")))
