"""Questions to Ultralytics: model graphs, sizes, data sets, checkpoints, validation, the ``yolo`` command."""
