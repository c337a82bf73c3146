"""An experiment on disk: its plan, records, ground truth and results. What ``comparison`` writes and ``report`` reads."""
