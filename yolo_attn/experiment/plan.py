"""What is compared: models, data, seeds and recipe, and the grid of runs they make. Kept as ``plan.json``."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..atomic_files import finite, write_json, write_text
from ..errors import ArgumentError
from .storage import read_json

SPLITS = ("auto", "val", "test")
DEFAULT_EPOCHS = 100  # of `yolo train`
REPEAT = 1000  # added to the seeds of the base's second series
# Words of `yolo train` that the comparison sets itself, and what to use instead.
TAKEN = {
    "model": "give the models as base and variants",
    "data": "it is one of the comparison's own words",
    "seed": "use seeds=",
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
class Control:
    """A model that tells what a difference is worth.

    Attributes:
        kind: ``identity``, ``capacity``, or ``repeat`` (the base with other seeds).
        title: Its name in the tables, and of its model YAML.
        of: The variants it belongs to; all, if empty.
        text: The model YAML; empty for ``repeat``.
        note: One line: what it is.
    """

    kind: str
    title: str
    of: tuple[str, ...] = ()
    text: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """A row of the comparison: one model, trained once for every seed.

    Attributes:
        model: What is trained: a model YAML or a checkpoint.
        title: Its name, of which there is no second in the comparison.
        role: ``baseline``, ``variant`` or ``control``.
        seeds: The seeds; those of a repetition differ from the baseline's.
        control: The kind of a control.
        of: The variant that a control belongs to, by its title; None for all.
        note: One line about a control.
    """

    model: str
    title: str
    role: str
    seeds: tuple[int, ...]
    control: str | None = None
    of: str | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Run:
    """One model trained with one seed.

    Attributes:
        model: The model YAML (or checkpoint) that is trained.
        title: The model's name in the tables.
        name: Name of the run, and of its folder within the comparison's.
        seed: The seed it is trained with.
        folder: Where its files go.
        role: ``baseline``, ``variant`` or ``control``.
        control: The kind of a control.
    """

    model: str
    title: str
    name: str
    seed: int
    folder: Path
    role: str = "variant"
    control: str | None = None

    @property
    def record(self) -> Path:
        """The file whose existence says that the run is finished."""
        return self.folder / "record.json"

    @property
    def error(self) -> Path:
        """The file that says why the last attempt failed."""
        return self.folder / "error.json"

    @property
    def log(self) -> Path:
        """What the run's processes printed."""
        return self.folder / "log.txt"

    @property
    def progress(self) -> Path:
        """Where its process says how far it is."""
        return self.folder / "progress.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One comparison. Use :meth:`make`, which checks the words and finds a folder.

    Attributes:
        base: Model YAML of the baseline.
        models: Model YAMLs of the variants.
        data: Data YAML.
        seeds: Seeds; every model is trained with each of them.
        train: Any other ``yolo train`` argument, the same for every run.
        folder: Where everything goes.
        split: The split that gives the figures: ``"val"``, ``"test"``, or ``"auto"``: ``test`` if the data has one
            with labels (the epoch is chosen on ``val``), else ``val``.
        controls: Models that are trained beside the variants to show what a difference is worth.
    """

    base: str
    models: tuple[str, ...]
    data: str
    seeds: tuple[int, ...] = (0,)
    train: dict[str, Any] = field(default_factory=dict)
    folder: Path
    split: str = "auto"
    controls: tuple[Control, ...] = ()

    @classmethod
    def make(
        cls,
        base: str,
        models: Iterable[str],
        data: str,
        *,
        seeds: Iterable[int] | int | str = (0,),
        train: Mapping[str, Any] | None = None,
        folder: str | Path | None = None,
        split: str = "auto",
        controls: Iterable[Control] = (),
    ) -> Plan:
        """Return a checked plan; ``folder`` defaults to a name under ``runs/compare`` made from the contents.

        Raises:
            ArgumentError: If there is no variant, a model or seed is named twice, ``train`` holds a word that the
                comparison sets itself or a value that JSON cannot hold, or ``seeds`` or ``split`` cannot be used.
        """
        controls = tuple(controls)
        models = (models,) if isinstance(models, str) else tuple(str(model) for model in models)
        if not models and not controls:
            raise ArgumentError("compare: no variant given; name at least one model to compare with the base")
        everyone = [str(base), *models]
        twice = sorted({model for model in everyone if everyone.count(model) > 1})
        if twice:
            raise ArgumentError(
                f"compare: {twice[0]} is named twice; to see two runs of one model differ, use control=repeat"
            )
        if split not in SPLITS:
            raise ArgumentError(f"compare: split={split!r} must be one of {', '.join(SPLITS)}")
        words = dict(train or {})
        for word in words:
            if word in TAKEN:
                raise ArgumentError(f"compare: {word}= cannot be given with the training words; {TAKEN[word]}")
        try:
            words = json.loads(json.dumps(words))  # as they will be read back
        except TypeError as error:
            raise ArgumentError(
                f"compare: the training words must be numbers, text or lists of them: {error}"
            ) from None
        epochs = words.get("epochs", DEFAULT_EPOCHS)
        if isinstance(epochs, bool) or not isinstance(epochs, int) or epochs < 1:
            raise ArgumentError(f"compare: epochs={epochs!r} must be a whole number from 1")
        plan = cls(
            base=str(base),
            models=models,
            data=str(data),
            seeds=read_seeds(seeds),
            train=words,
            folder=Path(),
            split=str(split),
            controls=controls,
        )
        return dataclasses.replace(plan, folder=Path(folder) if folder else Path("runs") / "compare" / plan.name)

    @property
    def epochs(self) -> int:
        """How many epochs each run is trained for."""
        return int(self.train.get("epochs", DEFAULT_EPOCHS))

    @property
    def name(self) -> str:
        """A folder name that says what is compared; more seeds go into the same folder."""
        words = [f"{word}{self.train[word]}" for word in ("epochs", "imgsz") if word in self.train]
        rest = {word: value for word, value in self.train.items() if word not in ("epochs", "imgsz")}
        if self.split != "auto":
            rest["split"] = self.split
        if rest:
            words.append(_digest(rest))
        tail = _safe("-".join(words))
        who = f"{title(self.data)}-{title(self.base)}"
        if self.models:
            who += f"-vs-{'+'.join(title(model) for model in self.models)}"
        who = _safe(who)
        if len(who) + len(tail) >= NAME_LENGTH:
            who = f"{who[: NAME_LENGTH - len(tail) - 10]}-{_digest(self.models)}"
        return f"{who}-{tail}" if tail else who

    @property
    def id(self) -> str:
        """What every record of this comparison carries: a digest of base, data, split and recipe.

        Models and seeds are not in it: a comparison may grow.
        """
        return _digest({"base": self.base, "data": self.data, "split": self.split, "train": self.train}, 12)

    @property
    def entries(self) -> list[Entry]:
        """The models: the baseline, the variants, the controls."""
        entries: list[Entry] = []

        def add(model: str, wanted: str, role: str, seeds: tuple[int, ...], **rest: Any) -> None:
            name, number = wanted, 2
            while name in [entry.title for entry in entries]:  # two folders may hold models of one name
                name, number = f"{wanted}-{number}", number + 1
            entries.append(Entry(model, name, role, seeds, **rest))

        add(self.base, title(self.base), "baseline", self.seeds)
        for model in self.models:
            add(model, title(model), "variant", self.seeds)
        titles = {entry.model: entry.title for entry in entries}
        for control in self.controls:
            model, seeds = self.base, tuple(seed + REPEAT for seed in self.seeds)
            if control.kind != "repeat":
                model, seeds = str(self.folder / "controls" / f"{control.title}.yaml"), self.seeds
            of = ", ".join(titles.get(model, model) for model in control.of) or None
            add(model, control.title, "control", seeds, control=control.kind, of=of, note=control.note)
        return entries

    @property
    def runs(self) -> list[Run]:
        """The runs, seed by seed, so that what is finished early can be compared early."""
        entries = self.entries
        names: list[str] = []
        for entry in entries:
            name = wanted = _safe(entry.title)
            number = 2
            while name in names:
                name, number = f"{wanted}-{number}", number + 1
            names.append(name)
        runs = []
        for index in range(len(self.seeds)):
            for entry, name in zip(entries, names, strict=True):
                seed = entry.seeds[index]
                own = f"{name}-seed{seed}"
                runs.append(Run(entry.model, entry.title, own, seed, self.folder / own, entry.role, entry.control))
        return runs

    def run(self, name: str) -> Run:
        """Return the run called ``name``."""
        return next(run for run in self.runs if run.name == name)

    def save(self) -> None:
        """Write ``plan.json``, with a fingerprint of every model and data file on disk, and the controls' YAMLs."""
        for control in self.controls:
            if control.text:
                write_text(self.folder / "controls" / f"{control.title}.yaml", control.text)
        plan = {key: value for key, value in dataclasses.asdict(self).items() if key != "folder"}
        write_json(self.folder / "plan.json", {"plan": plan, "id": self.id, "files": self._fingerprints()})

    @classmethod
    def load(cls, folder: str | Path) -> Plan:
        """Return the plan kept in ``folder``.

        Raises:
            ArgumentError: If there is none, or it cannot be read.
        """
        folder = Path(folder)
        try:
            kept = read_json(folder / "plan.json")
            if kept is None:
                raise ArgumentError(f"{folder}: no comparison here (no plan.json)")
            words = dict(kept["plan"])
            words["controls"] = tuple(Control(**{**c, "of": tuple(c["of"])}) for c in words["controls"])
            words |= {"models": tuple(words["models"]), "seeds": tuple(words["seeds"]), "folder": folder}
            return cls(**words)
        except (ValueError, KeyError, TypeError, NotADirectoryError, IsADirectoryError) as error:
            if isinstance(error, ArgumentError):
                raise
            raise ArgumentError(
                f"{folder / 'plan.json'} cannot be read ({error}); use another folder= or delete it"
            ) from None

    def claim(self) -> list[str] | None:
        """Make the folder this comparison's own.

        Returns:
            None if it is new; else it can go on, and this is what it has grown by (seeds, models), a phrase for each.

        Raises:
            ArgumentError: If the folder holds another comparison, or something else.
        """
        if not (self.folder / "plan.json").is_file():
            if self.folder.exists() and (not self.folder.is_dir() or any(self.folder.iterdir())):
                raise ArgumentError(f"{self.folder} exists and is no comparison; use another folder=")
            self.save()
            return None
        old = Plan.load(self.folder)
        differences, grown = self.differences(old), self._growth(old)
        if not differences:
            kept = read_json(self.folder / "plan.json").get("files", {})
            now = self._fingerprints()
            differences = [f"the file {path} has changed" for path in kept if now.get(path) != kept[path]]
        if differences:
            raise ArgumentError(
                f"{self.folder} holds another comparison: {'; '.join(differences)}. Use another folder=, or delete it"
            )
        if grown:
            self.save()
        return grown

    def differences(self, old: Plan) -> list[str]:
        """Return what ``old`` does otherwise, a phrase for each word; what was only added to is none."""
        mine, its = self._words(), old._words()
        absent = "not given"
        found = [
            f"{word} was {its.get(word, absent)}, now {mine.get(word, absent)}"
            for word in {**its, **mine}
            if its.get(word, absent) != mine.get(word, absent)
        ]
        for word, new, before in (
            ("seeds", self.seeds, old.seeds),
            ("models", self.models, old.models),
            ("control", [c.title for c in self.controls], [c.title for c in old.controls]),
        ):
            if any(item not in new for item in before):
                found.append(f"{word} was {_joined(before)}, now {_joined(new)}")
        texts = {control.title: control.text for control in self.controls}
        changed = [control.title for control in old.controls if texts.get(control.title, control.text) != control.text]
        return found + [f"the control {name} was another model" for name in changed]

    def _growth(self, old: Plan) -> list[str]:
        added = [
            (word, [item for item in new if item not in before])
            for word, new, before in (
                ("seeds", self.seeds, old.seeds),
                ("models", self.models, old.models),
                ("controls", [c.title for c in self.controls], [c.title for c in old.controls]),
            )
        ]
        return [f"{word} {_joined(items)}" for word, items in added if items]

    def _words(self) -> dict[str, Any]:
        return {"base": self.base, "data": self.data, "split": self.split, **self.train}

    def _fingerprints(self) -> dict[str, str]:
        paths = [path for path in (self.data, self.base, *self.models) if Path(path).is_file()]
        return {path: hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in paths}


def read_seeds(seeds: Iterable[int] | int | str) -> tuple[int, ...]:
    """Return seeds given as numbers, or as text: ``0-4``, ``0,2,5`` or both mixed.

    Raises:
        ArgumentError: If they are none, one is no whole number from 0, or one is named twice.
    """
    example = "e.g. seeds=0-4 or seeds=0,1,2"
    found: list[int] = []
    parts: Iterable[Any] = [seeds]
    if isinstance(seeds, str):
        parts = seeds.strip("[]() ").split(",")
    elif isinstance(seeds, Iterable):
        parts = seeds
    for part in parts:
        text = str(part).strip()
        span = re.fullmatch(r"(\d+)-(\d+)", text)
        if isinstance(part, bool) or not (span or re.fullmatch(r"\d+", text)):
            raise ArgumentError(f"compare: seeds={seeds}: {text or 'nothing'!r} is no whole number from 0; {example}")
        first, last = (int(span[1]), int(span[2])) if span else (int(text), int(text))
        if last < first:
            raise ArgumentError(f"compare: seeds={seeds}: {text} runs backwards; {example}")
        if last - first >= REPEAT or last >= 2**31:
            raise ArgumentError(f"compare: seeds={seeds}: {text} are too many or too large; {example}")
        found += range(first, last + 1)
    twice = sorted({seed for seed in found if found.count(seed) > 1})
    if twice:
        raise ArgumentError(f"compare: seed {twice[0]} is named twice; the same seed gives the same run again")
    if not found:
        raise ArgumentError(f"compare: no seeds given; {example}")
    return tuple(found)


def title(path: str) -> str:
    """Return a model's or data set's name without folder and ``.yaml``; a checkpoint keeps its ``.pt``."""
    name = Path(path).name
    return re.sub(r"\.ya?ml$", "", name) or name


def _joined(items: Iterable[Any]) -> str:
    return ",".join(map(str, items)) or "none"


def _safe(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.+-]+", "_", name)


def _digest(value: Any, length: int = 6) -> str:
    return hashlib.sha256(json.dumps(finite(value), sort_keys=True).encode()).hexdigest()[:length]
