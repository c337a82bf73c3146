"""An experiment on disk: what ``comparison`` writes and ``report`` reads. Each kind of file is one class.

``plan``               the experiment's models, data, seeds and arguments, and its grid of runs
``records``            a run's record, and what its process notes while it trains
``costs``              parameters, operations, latency and throughput of the models
``data_set``           the fingerprint of the data set
``ground_truth_file``  the labelled boxes of the test images
``results``            what ``results.json`` holds
``storage``            reads and writes these files
``folder_contents``    reads a whole folder
``epochs``             Ultralytics' ``results.csv``
``experiment_file``    the arguments of ``yolo-attn compare`` as a YAML file
"""
