"""``yolo-attn report``: make the report of a comparison again from its records, without torch."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import ArgumentError
from . import words

USAGE = "yolo-attn report runs/compare/NAME"
HELP = f"""\
yolo-attn report: the report of a comparison, made again from the records in its folder

usage: yolo-attn report DIR

  DIR               the folder of a comparison, as yolo-attn compare names it

Prints the tables and verdicts, and writes report.html (one file that opens offline), results.json, results.csv (a row
for each model and figure), results_by_seed.csv, results.md and forest.svg into the folder. Runs that are not finished
or failed are named. Needs neither torch nor Ultralytics, and no data set; the images, where they are found, are shown.

example:
  {USAGE}
"""


def run(given: Sequence[str]) -> int:
    """Make the report; 0, or 2 where there is none to make."""
    if not given or given[0] in ("-h", "--help", "help"):
        print(HELP, end="")
        return 0
    folders, _ = words.with_paths(given, [])
    if len(folders) != 1:
        raise ArgumentError(f"report takes one folder, got {len(folders)}: {' '.join(folders)}; e.g. {USAGE}")
    from ..report import make_report

    make_report(folders[0])
    return 0
