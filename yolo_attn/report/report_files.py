"""Make the report of an experiment's folder: compute the results, write the files, print the tables."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.text import Text

from ..atomic_files import write_text
from ..experiment.folder_contents import collect
from ..experiment.results import Results
from ..experiment.storage import write
from ..messages import printable
from .charts.forest_plot import forest
from .comparison_title import title
from .csv_tables import by_seed_csv, summary_csv
from .html_page import FOREST_METRICS, WIDE, page
from .markdown_report import markdown
from .results_computation import compute_results
from .terminal_report import print_report

FILES = ("results.json", "results.csv", "results_by_seed.csv", "results.md", "forest.svg", "report.html")


def make_report(
    folder: str | Path, console: Console | None = None, *, failed: Mapping[str, str] | None = None
) -> Results:
    """Compute the results of the records in ``folder``, write the report's files there, and print its tables.

    ``report.html`` is the whole report in one file. ``results.json`` has every number, ``results.csv`` a row for each
    model and metric, ``results_by_seed.csv`` a row for each seed, ``results.md`` the tables, and ``forest.svg`` the
    differences as a picture for a README. Missing runs are named; the finished ones are reported.

    Args:
        folder: The experiment's folder.
        console: Where to print; the terminal by default.
        failed: Why runs failed, by name of the run; by default the reasons kept in the folder.

    Returns:
        The contents of ``results.json``.

    Raises:
        UserError: If there is no experiment, a file in the folder cannot be read or belongs to another experiment, or
            the report cannot be written.
    """
    console = console or Console()
    experiment = collect(folder, failed)
    with console.status("") as status:
        results = compute_results(experiment, lambda line: status.update(Text(f"Report: {printable(line)}")))
        status.update("Report: charts and page")
        compared = [model for model in results.models if model.change("AP")]
        texts = {
            "results.csv": summary_csv(results),
            "results_by_seed.csv": by_seed_csv(results),
            "results.md": markdown(results, title(experiment)),
            "forest.svg": forest(compared, FOREST_METRICS, WIDE, "forest").standalone() if compared else None,
            "report.html": page(experiment, results),
        }
    target = experiment.plan.folder
    write(target / "results.json", results)
    for name, text in texts.items():
        if text is None:
            (target / name).unlink(missing_ok=True)  # from an earlier report
        else:
            write_text(target / name, text)
    print_report(results, console, title(experiment))
    console.print(
        f"\nReport: {target / 'report.html'}",
        style="bold",
        highlight=False,
        soft_wrap=True,
        markup=False,
    )
    return results
