"""What a person sees of an experiment: tables in the terminal, ``report.html``, and the same as JSON, CSV and Markdown.

    from yolo_attn import report

    results = report.make("runs/compare/...")

All is made from the records in the folder. Importing and using this package imports neither torch nor Ultralytics.
"""

from .writing import FILES, make

__all__ = ["FILES", "make"]
