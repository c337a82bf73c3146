"""Report an experiment: tables in the terminal, ``report.html``, and the same as JSON, CSV and Markdown.

    from yolo_attn.report import make_report

    results = make_report("runs/compare/...")

The report is made from the records in the folder. Using this package imports neither torch nor Ultralytics.
"""

from .report_files import FILES, make_report

__all__ = ["FILES", "make_report"]
