"""Make the report of an experiment's folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from ..atomic_files import write_json, write_text
from ..errors import DataError, disk_full
from ..experiment.folder_contents import collect
from . import csv_tables
from .charts.forest_plot import forest
from .html_page import FOREST, WIDE, page
from .markdown_report import markdown
from .summarising import results as results_of
from .tables import effect
from .terminal_report import show

FILES = ("results.json", "results.csv", "results_by_seed.csv", "results.md", "forest.svg", "report.html")


def make(
    folder: str | Path, console: Console | None = None, *, failed: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Compute what the records in ``folder`` say, write the files of the report there, and print its tables.

    ``report.html`` is the whole report in one file; ``results.json`` holds every number, ``results.csv`` a row for each
    model and figure, ``results_by_seed.csv`` a row for each seed as well, ``results.md`` the tables, and ``forest.svg``
    the differences as a picture for a README. Runs that are missing are named, and what is finished is reported.

    Args:
        folder: The experiment's folder.
        console: Where to print; the terminal by default.
        failed: Why runs failed, by name of the run; by default the reasons kept in the folder.

    Returns:
        What ``results.json`` holds: among others ``models``, ``missing`` and ``failed``.

    Raises:
        UserError: If there is no experiment, or something in the folder cannot be read, is of another experiment, or
            cannot be written.
    """
    console = console or Console()
    experiment = collect(folder, failed)
    with console.status("") as status:
        results = results_of(experiment, lambda line: status.update(f"Report: {line}"))
        status.update("Report: pictures and page")
        compared = [model for model in results["models"] if effect(model, "AP")]
        texts = {
            "results.csv": csv_tables.summary(results),
            "results_by_seed.csv": csv_tables.by_seed(results),
            "results.md": markdown(results),
            "forest.svg": forest(compared, FOREST, WIDE, "forest").standalone() if compared else None,
            "report.html": page(experiment, results),
        }
    target = experiment.plan.folder
    try:
        write_json(target / "results.json", results)
        for name, text in texts.items():
            if text is None:
                (target / name).unlink(missing_ok=True)  # of an earlier report
            else:
                write_text(target / name, text)
    except OSError as error:
        raise disk_full(error, target) or DataError(f"{target}: the report cannot be written ({error})") from error
    show(results, console)
    console.print(f"\nReport: {target / 'report.html'}", style="bold", highlight=False, soft_wrap=True, markup=False)
    return results
