"""Compare Ultralytics' loading of weights, by layer number, with yolo-attn's, which matches layers.

    python benchmarks/pretrained.py transfer yolo11n.pt [...]
    python benchmarks/pretrained.py validate yolo11n.pt [...] --data coco.yaml [--imgsz 640]
    python benchmarks/pretrained.py train yolo11n.pt --data bccd.yaml [--epochs 5] [--imgsz 320]

``transfer`` counts the tensors that arrive after several insertions. ``validate`` inserts a block at every named place,
as the identity (``residual=true``) and in its plain form, and validates without training. ``train`` fine-tunes three
models with one recipe: the base, the base with EMA attention loaded by number, and the same model loaded by yolo-attn.
If interrupted, rerun the command to resume. A weight file must have the name of its model YAML: yolo11n.pt for
yolo11n.yaml. Runs are kept in ``--folder`` (runs/pretrained).
"""

from __future__ import annotations

import argparse
import json
import logging
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from rich import box
from rich.console import Console
from rich.table import Table
from ultralytics import YOLO
from ultralytics.nn.tasks import BaseModel
from ultralytics.utils import LOGGER

import yolo_attn
from yolo_attn import Insertion, place
from yolo_attn.integration.queries import model_graph
from yolo_attn.integration.weights import loading
from yolo_attn.model_yaml import places

QUIET = {"plots": False, "verbose": False}
BACKBONE = ("backbone.P3", "backbone.P4", "backbone.P5")
INSERTIONS = {
    "nn.Identity after layer 4": Insertion("nn.Identity", ("layer:4",)),
    "EMA on the neck's P3, P4, P5": Insertion("EMA", ("neck.P3", "neck.P4", "neck.P5")),
    "GSoP at the backbone's end": Insertion("GSoP", ("backbone.end",)),
    "PMFS before the neck": Insertion("PMFS", ("before_neck",), BACKBONE),
}


@contextmanager
def by_number() -> Iterator[None]:
    """Switch to Ultralytics' own loading."""
    ours = BaseModel.load
    BaseModel.load = ours.__wrapped__
    try:
        yield
    finally:
        BaseModel.load = ours


def new_table(title: str, names: Sequence[str], numbers: Sequence[str]) -> Table:
    """Return an empty table with columns for names and for numbers."""
    table = Table(*names, box=box.SIMPLE_HEAD, pad_edge=False, title=title, title_justify="left")
    for column in numbers:
        table.add_column(column, justify="right")
    return table


def placed(weights: Path, insertion: Insertion, folder: Path, name: str) -> tuple[Any, list[int]]:
    """Return the model with the block inserted, and the new index of each layer of the base."""
    base = f"{weights.stem}.yaml"
    result = place(base, [insertion], output=folder / f"{weights.stem}-{name}.yaml")
    new = {row.index for row in result.inserted}
    torch.manual_seed(0)  # for the initial weights of the new layers
    model = YOLO(str(folder / f"{weights.stem}-{name}.yaml"))
    return model, [k for k in range(len(model.model.model)) if k not in new]


def transfer(arguments: argparse.Namespace, console: Console, folder: Path) -> None:
    """Print how many tensors arrive with each way of loading, and how many of them in the right layer."""
    columns = "by number", "of them right", "parameters right", "yolo-attn", "parameters"
    table = new_table("tensors of the source that arrive", ("weights", "inserted"), columns)
    for weights in arguments.weights:
        for k, (what, insertion) in enumerate(INSERTIONS.items()):
            source = YOLO(str(weights)).model
            model, at = placed(weights, insertion, folder, f"t{k}")
            with by_number():
                model.model.load(source, verbose=False)
            naive = arrived(source, model.model, list(range(len(source.model))))
            true = arrived(source, model.model, at)
            right = {name for name in naive if at[number(name)] == number(name)} & true
            model, at = placed(weights, insertion, folder / "again", f"t{k}")
            loading.load_quietly(model.model, source)
            ours = arrived(source, model.model, at)
            total = len(source.state_dict())
            counts = f"{len(naive)}/{total}", str(len(right)), share(source, right), f"{len(ours)}/{total}"
            table.add_row(weights.stem, what, *counts, share(source, ours))
    console.print(table)


def number(name: str) -> int:
    """Return the layer number in a tensor's name."""
    return int(name.split(".")[1])


def arrived(source: Any, target: Any, at: list[int]) -> set[str]:
    """Return the names of the source's tensors that the target holds, equal, in the layers that ``at`` gives."""
    there = target.state_dict()
    names = set()
    for name, tensor in source.state_dict().items():
        _, k, rest = name.split(".", 2)
        other = there.get(f"model.{at[int(k)]}.{rest}")
        if other is not None and other.shape == tensor.shape and bool((other == tensor).all()):
            names.add(name)
    return names


def share(source: Any, names: set[str]) -> str:
    """Return the share of the source's parameters that these tensors hold, as text."""
    sizes = {name: p.numel() for name, p in source.named_parameters()}
    return f"{100 * sum(sizes.get(n, 0) for n in names) / sum(sizes.values()):.1f} %"


def validate(arguments: argparse.Namespace, console: Console, folder: Path) -> None:
    """Print mAP50-95 without training, with a block at every named place."""
    for weights in arguments.weights:
        base = model_graph.build(model_graph.load(f"{weights.stem}.yaml"))
        columns = "residual=true", "equal", "plain form"
        table = new_table(f"{weights.stem}: mAP50-95 without training", ("block", "place"), columns)
        wanted = metric(YOLO(str(weights)), arguments)
        table.add_row("none", "", f"{100 * wanted:.4f}", "", "")
        insertions = [("EMA", (name,), (), {"factor": 8}) for name in places.named(base)]
        insertions += [(block, ("before_neck",), BACKBONE, {}) for block in ("PMFS", "AttentionFPN")]
        for k, (block, at, sources, options) in enumerate(insertions):
            got = []
            for form in ({"residual": True}, {}):
                insertion = Insertion(block, at, sources, (), {**options, **form})
                model, _ = placed(weights, insertion, folder, f"v{k}{'r' * bool(form)}")
                model.load(weights)
                got.append(metric(model, arguments))
            equal = "yes" if got[0] == wanted else "NO"
            table.add_row(block, at[0], f"{100 * got[0]:.4f}", equal, f"{100 * got[1]:.1f}")
            console.print(f"{weights.stem} {block} {at[0]}: {got}", style="dim")
        console.print(table)


def metric(model: Any, arguments: argparse.Namespace) -> float:
    """Return mAP50-95 on the val split."""
    options = {"imgsz": arguments.imgsz or 640, "batch": 16, "device": arguments.device, "workers": 1, **QUIET}
    found = model.val(data=arguments.data, project=str(arguments.folder), name="val", exist_ok=True, **options)
    return float(found.box.map)


def train(arguments: argparse.Namespace, console: Console, folder: Path) -> None:
    """Fine-tune the base and the model with EMA attention, loaded in both ways; print validation and test metrics."""
    (weights,) = arguments.weights
    ema = str(folder / f"{weights.stem}-ema.yaml")
    place(f"{weights.stem}.yaml", [INSERTIONS["EMA on the neck's P3, P4, P5"]], output=ema)
    runs = {"base": (f"{weights.stem}.yaml", False), "EMA, by number": (ema, True), "EMA, by yolo-attn": (ema, False)}
    epochs = [f"val, epoch {k + 1}" for k in range(arguments.epochs)]
    table = new_table(f"{weights.stem}: mAP50 after fine-tuning", ("model",), (*epochs, "test mAP50", "test mAP50-95"))
    for k, (name, (yaml, naive)) in enumerate(runs.items()):
        run = arguments.folder / f"train-{k}"
        done = run / "metrics.json"
        if not done.exists():
            metrics = fine_tune(yaml, weights, run, arguments, naive=naive)
            done.write_text(json.dumps(metrics))
        metrics = json.loads(done.read_text())
        table.add_row(name, *(f"{100 * v:.1f}" for v in metrics["val"]), *(f"{100 * v:.1f}" for v in metrics["test"]))
    console.print(table)


def fine_tune(yaml: str, weights: Path, run: Path, arguments: argparse.Namespace, *, naive: bool) -> dict[str, Any]:
    """Train one model; return mAP50 of each epoch on val, and mAP50 and mAP50-95 of the best epoch on test."""
    imgsz = arguments.imgsz or 320
    options = {"data": arguments.data, "imgsz": imgsz, "device": arguments.device, "workers": 1, **QUIET}
    recipe = {"epochs": arguments.epochs, "batch": 8, "seed": 0, "optimizer": "AdamW", "lr0": 0.001}
    last, table = run / "weights" / "last.pt", run / "results.csv"
    with by_number() if naive else nullcontext():
        if not last.exists():
            where = {"project": str(run.parent), "name": run.name, "exist_ok": True}
            YOLO(yaml).train(pretrained=str(weights), **where, **options, **recipe)
        elif len(table.read_text().splitlines()) <= arguments.epochs:
            YOLO(str(last)).train(resume=True)
    rows = [row.split(",") for row in table.read_text().splitlines()]
    column = [c.strip() for c in rows[0]].index("metrics/mAP50(B)")
    best = YOLO(str(run / "weights" / "best.pt"))
    found = best.val(split="test", project=str(run), name="test", exist_ok=True, **options)
    test = [float(found.box.map50), float(found.box.map)]
    return {"val": [float(row[column]) for row in rows[1:]], "test": test}


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["transfer", "validate", "train"])
    parser.add_argument("weights", nargs="+", type=Path)
    parser.add_argument("--data")
    parser.add_argument("--imgsz", type=int)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--folder", type=Path, default=Path("runs/pretrained"))
    arguments = parser.parse_args()
    if arguments.what != "transfer" and not arguments.data:
        parser.error(f"{arguments.what} needs --data")
    arguments.folder = arguments.folder.resolve()
    yolo_attn.install()
    if arguments.what != "train":
        LOGGER.setLevel(logging.WARNING)
    console = Console(width=None if Console().is_terminal else 120)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "again").mkdir()
        {"transfer": transfer, "validate": validate, "train": train}[arguments.what](arguments, console, Path(folder))


if __name__ == "__main__":
    main()
