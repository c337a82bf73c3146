"""Which engine performs the runs."""

from __future__ import annotations

from yolo_attn.compare.engine import Engine, OneByOne
from yolo_attn.errors import WordError
from yolo_attn.registry import nearest

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
        gpus_per_run: See :class:`yolo_attn.compare.ray_engine.RayEngine`, as for the others.
        cpus_per_run: Of ``ray`` only.
        address: Of ``ray`` only.

    Raises:
        WordError: If there is no such engine, a word does not belong to it, or ``ray`` is not installed.
    """
    if engine not in (None, *ENGINES):
        raise WordError(f"engine={engine} is none of {', '.join(ENGINES)}.{nearest(str(engine), ENGINES)}")
    if engine == "ray":
        from yolo_attn.compare.ray_engine import RayEngine

        return RayEngine(gpus_per_run, cpus_per_run, address)
    given = {"gpus_per_run": gpus_per_run, "cpus_per_run": cpus_per_run, "address": address}
    for word, value in given.items():
        if value is not None:
            raise WordError(f"{word}={value} belongs to engine=ray; runs one after the other have the whole machine")
    return OneByOne()
