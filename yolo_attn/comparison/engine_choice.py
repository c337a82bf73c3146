"""Which engine performs the runs."""

from __future__ import annotations

from ..errors import ArgumentError
from ..messages import nearest
from .engine import Engine, OneByOne

ENGINES = ("one-by-one", "ray")


def make(
    engine: str | None = None,
    gpus_per_run: str | float | None = None,
    cpus_per_run: str | float | None = None,
    address: str | None = None,
) -> Engine:
    """Return the engine.

    Args:
        engine: ``one-by-one``, the default, or ``ray``.
        gpus_per_run: See :class:`yolo_attn.comparison.ray.cluster_engine.RayEngine`, as for the others.
        cpus_per_run: Of ``ray`` only.
        address: Of ``ray`` only.

    Raises:
        ArgumentError: If there is no such engine, a word does not belong to it, or ``ray`` is not installed.
    """
    if engine not in (None, *ENGINES):
        raise ArgumentError(f"engine={engine} is none of {', '.join(ENGINES)}.{nearest(str(engine), ENGINES)}")
    if engine == "ray":
        from .ray.cluster_engine import RayEngine

        return RayEngine(gpus_per_run, cpus_per_run, address)
    given = {"gpus_per_run": gpus_per_run, "cpus_per_run": cpus_per_run, "address": address}
    for word, value in given.items():
        if value is not None:
            raise ArgumentError(
                f"{word}={value} belongs to engine=ray; runs one after the other have the whole machine"
            )
    return OneByOne()
