"""``yolo-attn report``: make the report of an experiment from its records, without torch."""

from __future__ import annotations


def run(folder: str) -> int:
    """Make the report of an experiment again from the records in its folder.

    Prints the tables and verdicts. Writes report.html (one file that opens offline), results.json, results.csv,
    results_by_seed.csv, results.md and forest.svg into the folder. Names runs that failed or are not finished. Needs
    neither torch, nor Ultralytics, nor the data set; the page shows images if it finds them, and a diagram of each
    variant if torch and Ultralytics are there.

    Args:
        folder: Folder of the experiment, as `yolo-attn compare` prints it.

    Examples:
        yolo-attn report runs/compare/NAME
    """
    from ..report import make_report  # start-up time

    make_report(folder)
    return 0
