"""``yolo-attn compare``: a base model and its variants, trained with one recipe over several seeds, and a verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .. import install
from ..errors import ArgumentError
from . import words

OWN_WORDS = ("base", "models", "data", "seeds", "control", "split", "folder")
ENGINE_WORDS = ("engine", "gpus_per_run", "cpus_per_run", "address")  # who performs it, not what is compared
HELP = """\
yolo-attn compare: does it help, and what does it cost?

usage: yolo-attn compare --base MODEL --models MODEL ... --data DATA [--seeds 0-4] [word=value ...]
       yolo-attn compare experiment.yaml [word=value ...]      the same words in a file; those given here count

  base      model YAML of the baseline            data      data YAML, COCO-style detection
  models    model YAMLs of the variants           seeds     0-4 or 0,1,2; each model is trained with each (0-2)
  split     auto, test or val: gives the figures (auto: test, if the data has one with labels)
  control   identity   the base with a layer that does nothing at a variant's places: must give the base's numbers
            capacity   the base widened to a variant's parameters (capacity:gflops: to its operations)
            repeat     the base again with other seeds: what differs there is noise
            several joined by commas; identity:MODEL and capacity:MODEL for one variant
  folder    where everything goes (runs/compare/...); the same command goes on there, more seeds or models add to it
  engine    ray: as Ray tasks, with gpus_per_run=0.5, cpus_per_run=2, address=auto; without: one after the other
  and every word of `yolo train`: epochs=100 imgsz=640 pretrained=yolo11n.pt ... the same for every run

examples:
  yolo-attn compare --base yolo11n.yaml --models yolo11n-ema.yaml yolo11n-gsop.yaml --data bccd.yaml --seeds 0-4 \\
      --epochs 100 --imgsz 320 --pretrained yolo11n.pt
  yolo-attn compare experiment.yaml seeds=0-9          # five more seeds of a comparison that had five
  yolo-attn report runs/compare/...                    # the report again, without torch
"""


def run(given: Sequence[str], defaults: Mapping[str, object] | None = None) -> int:
    """Compare models.

    Args:
        given: An experiment file, or ``base``, ``models``, ``data`` and so on, and the words of ``yolo train``, which
            are the recipe of every run. Words given beside a file count before it.
        defaults: Values for words that are given in neither.

    Returns:
        0, or 1 if a run failed.
    """
    if any(word in ("-h", "--help") for word in given):
        print(HELP, end="")
        return 0
    install()
    from ..integration.queries import yolo_command
    from ..report import compare_models

    own_words = [*OWN_WORDS, *ENGINE_WORDS]
    known = [*own_words, *yolo_command.words()]
    files = [word for word in given[:1] if "=" not in word and word.endswith((".yaml", ".yml"))]
    pairs = words.parse(given[len(files) :], [*known, "seed"], flags=yolo_command.flags())
    if "seed" in pairs:
        raise ArgumentError(f"compare: write seeds={pairs['seed']} for seed={pairs['seed']}; several: seeds=0-4")
    chosen: dict[str, Any] = dict(defaults or {})
    if files:
        from ..experiment import experiment_file

        chosen |= experiment_file.read(files[0], known)
    chosen |= {word: text if word in own_words else yolo_command.value(text) for word, text in pairs.items()}
    own = {word: chosen.pop(word) for word in own_words if word in chosen}

    missing = [word for word in ("base", "models", "data") if not own.get(word)]
    if "models" in missing and own.get("control"):
        missing.remove("models")
    if missing:
        raise ArgumentError(
            f"compare needs {' and '.join(f'{word}=' for word in missing)}, e.g. yolo-attn compare base=yolo11n.yaml "
            "models=yolo11n-ema.yaml data=digits.yaml seeds=0-2 imgsz=128 epochs=30"
        )
    base, models = str(own["base"]), _several(own.get("models", ()))
    kinds = _several(own["control"]) if own.get("control") else []
    rest = {name: value for name, value in own.items() if name not in ("base", "models", "control")}
    rest["data"] = str(rest["data"])
    results = compare_models.compare(base, models, control=kinds, **rest, **chosen)
    return 1 if results.failed else 0


def _several(value: Any) -> list[str]:
    """Return the parts of ``a,b``, of a YAML list, or of one word."""
    if isinstance(value, (list, tuple)):
        return [str(part) for part in value]
    return [part.strip() for part in str(value).strip("[]()").split(",") if part.strip()]
