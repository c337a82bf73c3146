"""``yolo-attn compare``: train a base model and its variants with one recipe and one seed, and print one table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .. import register
from ..errors import WordError
from . import words

OWN_WORDS = ("base", "models", "data", "seed", "split", "folder")
USAGE = "yolo-attn compare base=yolo11n.yaml models=yolo11n-ema.yaml data=digits.yaml imgsz=128 epochs=30"


def run(given: Sequence[str], defaults: Mapping[str, object] | None = None) -> int:
    """Compare models.

    Args:
        given: ``base``, ``models`` (joined by commas), ``data``, ``seed``, ``split``, ``folder``, and the words of
            ``yolo train``, which are the recipe of every model.
        defaults: Values for words that are not given.

    Returns:
        0, or 1 if a run failed.
    """
    register()
    from ..compare import Plan, compare
    from ..integration import datasets, yolo

    pairs = words.parse(given, [*OWN_WORDS, *yolo.words()], flags=yolo.flags())
    chosen = {**(defaults or {}), **{k: v if k in OWN_WORDS else yolo.value(v) for k, v in pairs.items()}}
    own = {k: str(chosen.pop(k)) for k in OWN_WORDS if k in chosen}
    missing = [k for k in ("base", "models", "data") if k not in own]
    if missing:
        raise WordError(f"compare needs {' and '.join(f'{k}=' for k in missing)}, e.g. {USAGE}")
    models = [m.strip() for m in own["models"].strip("[]()").split(",") if m.strip()]
    for model in (own["base"], *models):
        yolo.check_model(model)
    datasets.check_exists(own["data"])
    seed = own.get("seed", "0")
    if not seed.isdecimal():
        raise WordError(f"compare: seed={seed} must be a whole number from 0")
    plan = Plan.make(
        own["base"],
        models,
        own["data"],
        seed=int(seed),
        train=chosen,
        folder=own.get("folder"),
        split=own.get("split", "auto"),
    )
    return 1 if compare(plan)["failed"] else 0
