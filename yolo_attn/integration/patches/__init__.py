"""One file for each function of Ultralytics that is wrapped, named after the function.

Each file has ``replacement(original, ...)``, which is called instead of the function. ``wrapped_functions`` lists them
and puts them in, ``import_hook`` waits for Ultralytics to be imported, and ``startup/`` holds the files that the
installer puts beside the package.
"""
