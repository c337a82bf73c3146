"""What is compared: the models, the data, the seed and the recipe. Kept in the comparison's folder as ``plan.json``."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from yolo_attn.compare.records import read_json, write_json
from yolo_attn.errors import WordError

SPLITS = ("auto", "val", "test")
# Words of `yolo train` that the comparison sets itself, and what to use instead.
TAKEN = {
    "model": "give the models as base and variants",
    "data": "it is one of the comparison's own words",
    "seed": "it is one of the comparison's own words",
    "split": "it is one of the comparison's own words",
    "task": "only detection models are compared",
    "mode": "every run is trained, then validated",
    "project": "use folder=",
    "name": "use folder=",
    "save_dir": "use folder=",
    "exist_ok": "use folder=",
    "resume": "the same command goes on with what is unfinished",
    "save": "the checkpoints are needed for the validation",
    "cfg": "give its lines one by one",
}
NAME_LENGTH = 100  # characters of a default folder name; file systems stop at 255 bytes


@dataclass(frozen=True, slots=True)
class Run:
    """One model trained with one seed.

    Attributes:
        model: The model YAML (or checkpoint) as it was given.
        name: Name of the run, and of its folder within the comparison's.
        seed: The seed it is trained with.
        folder: Where its files go.
    """

    model: str
    name: str
    seed: int
    folder: Path

    @property
    def record(self) -> Path:
        """The file whose existence says that the run is finished."""
        return self.folder / "record.json"

    @property
    def error(self) -> Path:
        """The file that says why the last attempt failed."""
        return self.folder / "error.json"

    @property
    def title(self) -> str:
        """The model's name without folder and ``.yaml``."""
        return title(self.model)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One comparison. Use :meth:`make`, which checks the words and finds a folder.

    Attributes:
        base: Model YAML of the baseline.
        models: Model YAMLs of the variants.
        data: Data YAML.
        seed: Seed of every training.
        train: Any other ``yolo train`` argument, the same for every model.
        folder: Where everything goes.
        split: The split that gives the figures: ``"val"``, ``"test"``, or ``"auto"``: ``test`` if the data has one
            with labels (the epoch is chosen on ``val``), else ``val``.
    """

    base: str
    models: tuple[str, ...]
    data: str
    seed: int = 0
    train: dict[str, Any] = field(default_factory=dict)
    folder: Path
    split: str = "auto"

    @classmethod
    def make(
        cls,
        base: str,
        models: Iterable[str],
        data: str,
        *,
        seed: int = 0,
        train: Mapping[str, Any] | None = None,
        folder: str | Path | None = None,
        split: str = "auto",
    ) -> Plan:
        """Return a checked plan; ``folder`` defaults to a name under ``runs/compare`` made from the contents.

        Raises:
            WordError: If there is no variant, a model is named twice, ``train`` holds a word that the comparison sets
                itself or a value that JSON cannot hold, or ``seed`` or ``split`` cannot be used.
        """
        models = (models,) if isinstance(models, str) else tuple(str(model) for model in models)
        if not models:
            raise WordError("compare: no variant given; name at least one model to compare with the base")
        everyone = [str(base), *models]
        twice = sorted({model for model in everyone if everyone.count(model) > 1})
        if twice:
            raise WordError(f"compare: {twice[0]} is named twice; with one seed it would give the same figures twice")
        if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
            raise WordError(f"compare: seed={seed!r} must be a whole number from 0")
        if split not in SPLITS:
            raise WordError(f"compare: split={split!r} must be one of {', '.join(SPLITS)}")
        words = dict(train or {})
        for word in words:
            if word in TAKEN:
                raise WordError(f"compare: {word}= cannot be given with the training words; {TAKEN[word]}")
        try:
            words = json.loads(json.dumps(words))  # as they will be read back
        except TypeError as error:
            raise WordError(f"compare: the training words must be numbers, text or lists of them: {error}") from None
        plan = cls(
            base=str(base), models=models, data=str(data), seed=seed, train=words, folder=Path(), split=str(split)
        )
        return dataclasses.replace(plan, folder=Path(folder) if folder else Path("runs") / "compare" / plan.name)

    @property
    def name(self) -> str:
        """A folder name that says what is compared."""
        words = [f"seed{self.seed}"]
        words += [f"{word}{self.train[word]}" for word in ("epochs", "imgsz") if word in self.train]
        rest = {word: value for word, value in self.train.items() if word not in ("epochs", "imgsz")}
        if self.split != "auto":
            rest["split"] = self.split
        if rest:
            words.append(_digest(rest))
        tail = _safe("-".join(words))
        who = _safe(f"{title(self.data)}-{title(self.base)}-vs-{'+'.join(title(model) for model in self.models)}")
        if len(who) + len(tail) >= NAME_LENGTH:
            who = f"{who[: NAME_LENGTH - len(tail) - 10]}-{_digest(self.models)}"
        return f"{who}-{tail}"

    @property
    def runs(self) -> list[Run]:
        """The runs, the baseline's first."""
        runs: list[Run] = []
        for model in (self.base, *self.models):
            name = wanted = _safe(f"{title(model)}-seed{self.seed}")
            number = 2
            while name in [run.name for run in runs]:  # two folders may hold models of one name
                name, number = f"{wanted}-{number}", number + 1
            runs.append(Run(model=model, name=name, seed=self.seed, folder=self.folder / name))
        return runs

    def run(self, name: str) -> Run:
        """Return the run called ``name``."""
        return next(run for run in self.runs if run.name == name)

    def save(self) -> None:
        """Write ``plan.json`` into the folder, with a fingerprint of every model and data file that is on disk."""
        plan = {key: value for key, value in dataclasses.asdict(self).items() if key != "folder"}
        write_json(self.folder / "plan.json", {"plan": plan, "files": self._fingerprints()})

    @classmethod
    def load(cls, folder: str | Path) -> Plan:
        """Return the plan kept in ``folder``.

        Raises:
            WordError: If there is none, or it cannot be read.
        """
        folder = Path(folder)
        try:
            kept = read_json(folder / "plan.json")
            if kept is None:
                raise WordError(f"{folder}: no comparison here (no plan.json)")
            return cls(**{**kept["plan"], "models": tuple(kept["plan"]["models"]), "folder": folder})
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise WordError(
                f"{folder / 'plan.json'} cannot be read ({error}); use another folder= or delete it"
            ) from None

    def claim(self) -> bool:
        """Make the folder this comparison's own. Returns True if it already was, and can go on.

        Raises:
            WordError: If the folder holds another comparison, or something else.
        """
        if not (self.folder / "plan.json").is_file():
            if self.folder.exists() and (not self.folder.is_dir() or any(self.folder.iterdir())):
                raise WordError(f"{self.folder} exists and is no comparison; use another folder=")
            self.save()
            return False
        differences = self.differences(Plan.load(self.folder))
        if not differences:
            kept = read_json(self.folder / "plan.json").get("files", {})
            now = self._fingerprints()
            differences = [f"the file {path} has changed" for path in kept if now.get(path) != kept[path]]
        if differences:
            raise WordError(
                f"{self.folder} holds another comparison: {'; '.join(differences)}. Use another folder=, or delete it"
            )
        return True

    def differences(self, old: Plan) -> list[str]:
        """Return what ``old`` does otherwise, a phrase for each word."""
        mine, its = self._words(), old._words()
        absent = "not given"
        return [
            f"{word} was {its.get(word, absent)}, now {mine.get(word, absent)}"
            for word in {**its, **mine}
            if its.get(word, absent) != mine.get(word, absent)
        ]

    def _words(self) -> dict[str, Any]:
        own = {"base": self.base, "models": ",".join(self.models), "data": self.data, "seed": self.seed}
        return {**own, "split": self.split, **self.train}

    def _fingerprints(self) -> dict[str, str]:
        paths = [path for path in (self.data, self.base, *self.models) if Path(path).is_file()]
        return {path: hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in paths}


def title(path: str) -> str:
    """Return a model's or data set's name without folder and ``.yaml``; a checkpoint keeps its ``.pt``."""
    name = Path(path).name
    return re.sub(r"\.ya?ml$", "", name) or name


def _safe(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.+-]+", "_", name)


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:6]
