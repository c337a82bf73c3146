"""``yolo-attn compare``: train a baseline and its variants with several seeds, and report the differences."""

from __future__ import annotations

from typing import Annotated, Any

from cyclopts import Parameter
from rich.console import Console

from .. import install
from ..errors import ArgumentError
from ..messages import joined
from .argument_parsing import with_training_arguments

# The arguments of `compare` beside those of a training, in an experiment file too.
EXPERIMENT_ARGUMENTS = ("base", "models", "data", "seeds", "control", "split", "folder")
ENGINE_ARGUMENTS = ("engine", "gpus_per_run", "cpus_per_run", "address")  # how to run it, not what is compared


@with_training_arguments(shown=(), panels={})
def run(
    experiment: str | None = None,
    *,
    base: str | None = None,
    models: Annotated[list[str] | None, Parameter(consume_multiple=True)] = None,
    data: str | None = None,
    seeds: str | None = None,
    control: str | None = None,
    split: str | None = None,
    folder: str | None = None,
    engine: str | None = None,
    gpus_per_run: float | None = None,
    cpus_per_run: float | None = None,
    address: str | None = None,
    **training: Any,
) -> int:
    r"""Train a baseline and its variants with the same arguments and several seeds, and report the differences.

    All arguments of `yolo-attn train` are accepted too, such as epochs=100 imgsz=640 pretrained=yolo11n.pt. They are
    the same for every run. If interrupted, rerun the command to resume. Rerun it with more seeds or models to extend
    the experiment.

    Args:
        experiment: YAML file with the arguments of this command. Command-line values take precedence.
        base: Model YAML of the baseline.
        models: Model YAMLs of the variants.
        data: Data YAML of a detection data set.
        seeds: Seeds, such as 0-4 or 0,1,2. Every model is trained once per seed. [default: 0-2]
        control: Control models, joined by commas. identity: the baseline with an inserted layer that does nothing,
            which must reproduce the baseline's metrics. capacity: the baseline widened to a variant's parameters, or
            with capacity:gflops to its operations. repeat: the baseline with other seeds, which shows the noise.
            identity:MODEL and capacity:MODEL concern one variant.
        split: Images for the metrics: test, val, or auto, which is test if the data set has one with labels.
            [default: auto]
        folder: Output folder. [default: a folder in runs/compare that is named after the experiment]
        engine: one-by-one, or ray to run several trainings at once. [default: one-by-one]
        gpus_per_run: GPUs for each run, with engine=ray.
        cpus_per_run: CPU cores for each run, with engine=ray.
        address: Address of a Ray cluster, or auto, with engine=ray.
        **training: Arguments of `yolo-attn train`.

    Examples:
        yolo-attn compare base=yolo11n.yaml models=yolo11n-ema.yaml \
            data=digits.yaml imgsz=128 epochs=2 seeds=0-1
        yolo-attn compare --base yolo11n.yaml --data bccd.yaml --seeds 0-4 \
            --models yolo11n-ema.yaml yolo11n-gsop.yaml --pretrained yolo11n.pt
        yolo-attn compare experiment.yaml seeds=0-9
    """
    own = (*EXPERIMENT_ARGUMENTS, *ENGINE_ARGUMENTS)
    given = {name: value for name, value in locals().items() if name in own and value is not None} | training
    install()
    from ..experiment import experiment_file  # start-up time
    from ..integration.queries import ultralytics_arguments, yolo_command  # start-up time
    from ..report import compare_models  # start-up time

    if "seed" in given:
        raise ArgumentError(f"compare: write seeds={given['seed']} instead of seed={given['seed']}")
    values = {
        name: yolo_command.value(value) if isinstance(value, str) and name not in own else value
        for name, value in given.items()
    }
    if experiment:
        in_file = experiment_file.read(experiment, [*own, *ultralytics_arguments.read()])
        changed = [f"{name}={given[name]} ({in_file[name]})" for name in given if name in in_file]
        if changed:
            Console().print(f"Command-line values take precedence over {experiment}: {joined(changed)}", markup=False)
        values = in_file | values
    chosen = {name: values.pop(name) for name in own if name in values}

    missing = [name for name in ("base", "models", "data") if not chosen.get(name)]
    if "models" in missing and chosen.get("control"):
        missing.remove("models")
    if missing:
        raise ArgumentError(
            f"compare needs {joined((f'{name}=' for name in missing), ' and ')}, e.g. yolo-attn compare "
            "base=yolo11n.yaml models=yolo11n-ema.yaml data=digits.yaml seeds=0-2 imgsz=128 epochs=30"
        )
    data = str(chosen.pop("data"))
    kinds, models = (_several(name, chosen.pop(name, ())) for name in ("control", "models"))
    results = compare_models.compare(str(chosen.pop("base")), models, data, control=kinds, **chosen, **values)
    return 1 if results.failed else 0


def _several(name: str, value: Any) -> list[str]:
    """Return the parts of ``a,b``, of a YAML list, or of one value."""
    texts = value if isinstance(value, (list, tuple)) else [str(value).strip("[]()")]
    parts = [part.strip() for text in texts for part in str(text).split(",") if part.strip()]
    if texts and not parts:
        raise ArgumentError(f"compare: {name}={value} is empty")
    return parts
