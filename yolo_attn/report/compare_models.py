"""``yolo_attn.compare`` and ``yolo-attn compare``: perform an experiment and make its report."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from ..comparison.controls import make_controls
from ..comparison.engines import choose_engine
from ..comparison.running import run_experiment
from ..errors import ArgumentError
from ..experiment.plan import RESERVED, Plan, read_seeds
from ..experiment.results import Results
from ..messages import joined
from .report_files import make_report


def compare(
    base: str,
    models: str | Iterable[str],
    data: str,
    *,
    seeds: Iterable[int] | int | str = "0-2",
    control: str | Iterable[str] = (),
    split: str = "auto",
    folder: str | Path | None = None,
    engine: str | None = None,
    gpus_per_run: str | float | None = None,
    cpus_per_run: str | float | None = None,
    address: str | None = None,
    console: Console | None = None,
    **arguments: Any,
) -> Results:
    """Train a baseline and its variants with several seeds and report what the differences are worth.

    Finished runs are kept: call it again to resume, with more seeds or models to extend the experiment.

    Args:
        base: Model YAML or checkpoint of the baseline.
        models: Model YAMLs or checkpoints of the variants.
        data: Data YAML.
        seeds: Seeds, such as ``"0-4"`` or ``[0, 1]``; every model is trained with each of them.
        control: Controls: ``identity``, ``capacity``, ``capacity:gflops`` or ``repeat``, also ``identity:MODEL`` and
            ``capacity:MODEL`` for one variant.
        split: The split for the metrics: ``"val"``, ``"test"``, or ``"auto"``: ``test`` if the data set has one with
            labels.
        folder: Where everything goes; by default a folder in ``runs/compare``.
        engine: ``"one-by-one"``, the default, or ``"ray"``.
        gpus_per_run: GPUs of a run, with ``ray``.
        cpus_per_run: CPUs of a run, with ``ray``.
        address: A cluster, with ``ray``.
        console: Where to print; the terminal by default.
        **arguments: Arguments of ``yolo train``, the same for every run.

    Returns:
        The results, as in ``results.json``.

    Raises:
        UserError: If an argument, a model or the data cannot be used.
    """
    from ..integration import install  # start-up time
    from ..integration.queries import data_sets, yolo_command  # start-up time

    install()
    models, kinds = ([each] if isinstance(each, str) else list(each) for each in (models, control))
    for model in (base, *models):
        yolo_command.check_model(model)
        _check_suffix("model", model, (".yaml", ".yml", ".pt"))
    data_sets.check_exists(data)
    _check_suffix("data", data, (".yaml", ".yml"))
    if folder:
        if not isinstance(folder, str | Path):  # from an experiment file
            raise ArgumentError(f"compare: folder={folder} must be the name of a folder, in quotes if it is a number")
        yolo_command.check_folder("folder", str(folder))
    yolo_command.check_arguments({name: value for name, value in arguments.items() if name not in RESERVED})
    seeds, performer = read_seeds(seeds), choose_engine(engine, gpus_per_run, cpus_per_run, address)
    plan = Plan.make(
        base,
        models,
        data,
        seeds=seeds,
        arguments=arguments,
        folder=folder,
        split=split,
        controls=make_controls(kinds, base, models, arguments),
    )
    failures = run_experiment(plan, console, performer)
    return make_report(plan.folder, console, failed=failures)


def _check_suffix(what: str, name: str, suffixes: Sequence[str]) -> None:
    if "://" not in name and Path(name).suffix not in suffixes:
        raise ArgumentError(f"compare: {what} {name!r} must be a file that ends in {joined(suffixes, ' or ')}")
