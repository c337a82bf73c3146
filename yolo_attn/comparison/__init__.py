"""Train a baseline and its variants with the same arguments and several seeds, and measure what they cost.

``running``           performs an experiment: checks, trains, measures
``engines``           who performs the runs: one by one, or ``ray/``
``worker``            the child process that trains and validates one run; ``training`` is its training
``controls``          models that show what a difference is worth
``cost_measurement``  the child process that measures the costs; ``latency_measurement`` times the models
``live_view``         what the terminal shows; ``interim_results``, the values of runs that are not finished
``tracker_names``     names for experiment trackers
``environment``       versions, hardware and commit

Importing these modules imports neither torch nor Ultralytics: every training, validation and measurement is a process
of its own, and its result is a JSON file (:mod:`yolo_attn.experiment`).
"""
