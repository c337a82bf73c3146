"""The plan of an experiment: models, data, seeds and training arguments, and the runs they make (``plan.json``)."""

from __future__ import annotations

import hashlib
import itertools
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import msgspec

from ..atomic_files import write_text
from ..errors import ArgumentError, DataError, user_error_in
from ..integration.queries import yaml_files
from ..messages import joined
from .storage import ControlKind, File, Part, Role, read, write

SPLITS = ("auto", "val", "test")
DEFAULT_EPOCHS = 100  # of `yolo train`
REPEAT = 1000  # added to the seeds of the baseline's second series
# Arguments of `yolo train` that the experiment sets itself, and what to use instead.
RESERVED = {
    "model": "give the models as base and models",
    "data": "it is an argument of compare itself",
    "seed": "use seeds=",
    "split": "it is an argument of compare itself",
    "task": "only detection models are compared",
    "mode": "every run is trained, then validated",
    "project": "use folder=",
    "name": "use folder=",
    "save_dir": "use folder=",
    "exist_ok": "use folder=",
    "resume": "rerun the same command to resume",
    "save": "the validation needs the checkpoints",
    "cfg": "give its arguments one by one",
}
LOCK = ".lock"  # the file that a command locks in the experiment's folder, and a run's process in the run's
LONGEST_STEM = 200  # bytes of the name of a model in the names of files and folders
NAME_LENGTH = 100  # characters of a default folder name; file systems stop at 255 bytes


class Control(Part, frozen=True):
    """A model that shows what a difference is worth.

    Attributes:
        kind: ``identity``, ``capacity``, or ``repeat`` (the baseline with other seeds).
        name: Its name in the tables and of its model YAML.
        variants: The variants it belongs to, as model files; empty for all.
        model_yaml: The text of the model YAML; empty for ``repeat``.
        note: What it is, in one line.
    """

    kind: ControlKind
    name: str
    variants: tuple[str, ...] = ()
    model_yaml: str = ""
    note: str = ""


class _Recipe(File, frozen=True, kw_only=True):
    """What is compared.

    Attributes:
        base: Model YAML or checkpoint of the baseline.
        models: Model YAMLs or checkpoints of the variants.
        data: Data YAML.
        seeds: The seeds; every model is trained with each of them.
        arguments: The arguments of ``yolo train`` that were given, the same for every run.
        split: The split for the metrics: ``val``, ``test``, or ``auto``: ``test`` if the data set has one with labels
            (the epoch is chosen on ``val``), else ``val``.
        controls: Models that are trained beside the variants to show what a difference is worth.
    """

    remedy: ClassVar[str] = "use another folder= or delete it"

    base: str
    models: tuple[str, ...]
    data: str
    seeds: tuple[int, ...]
    arguments: dict[str, Any]
    split: Literal["auto", "val", "test"]
    controls: tuple[Control, ...]


class PlanFile(_Recipe, frozen=True, kw_only=True, tag=2):
    """What the experiment compares.

    Attributes:
        id: Digest of base, data, split and arguments; every record carries it.
        digests: SHA-256 of the file behind each name: the data YAML, the models, and the weights of ``pretrained``
            where they are a file. A changed file is refused once a run has a finished epoch.
    """

    id: str
    digests: dict[str, str]


@dataclass(frozen=True, slots=True)
class PlannedModel:
    """A row of the tables: one model, trained once for every seed.

    Attributes:
        name: Its name, unique in the experiment.
        file: What is trained: a model YAML or a checkpoint.
        role: ``baseline``, ``variant`` or ``control``.
        seeds: The seeds; those of a repetition differ from the baseline's.
        control: The kind of a control.
        variants: Names of the variants that a control belongs to; empty for all.
        note: One line about a control.
    """

    name: str
    file: str
    role: Role
    seeds: tuple[int, ...]
    control: ControlKind | None = None
    variants: tuple[str, ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True)
class Run:
    """One model trained with one seed.

    Attributes:
        name: Name of the run, and of its folder within the experiment's.
        model: The model's name in the tables.
        model_file: The model YAML or checkpoint that is trained.
        seed: The seed.
        folder: The folder of its files.
        role: ``baseline``, ``variant`` or ``control``.
        control: The kind of a control.
    """

    name: str
    model: str
    model_file: str
    seed: int
    folder: Path
    role: Role = "variant"
    control: ControlKind | None = None

    @property
    def record(self) -> Path:
        """The file whose existence means that the run is finished."""
        return self.folder / "record.json"

    @property
    def error(self) -> Path:
        """The file with the reason of the last failure."""
        return self.folder / "error.json"

    @property
    def log(self) -> Path:
        """The output of the run's processes."""
        return self.folder / "log.txt"

    @property
    def weights(self) -> Path:
        """The folder of its checkpoints."""
        return self.folder / "weights"

    @property
    def progress(self) -> Path:
        """The file in which its process notes the progress."""
        return self.folder / "progress.json"


class Plan(_Recipe, frozen=True, kw_only=True):
    """One experiment. Create it with :meth:`make`, which checks the arguments and chooses a folder.

    Attributes:
        folder: The experiment's folder.
    """

    folder: Path

    @classmethod
    def make(
        cls,
        base: str,
        models: Iterable[str],
        data: str,
        *,
        seeds: Iterable[int] | int | str = (0,),
        arguments: Mapping[str, Any] | None = None,
        folder: str | Path | None = None,
        split: str = "auto",
        controls: Iterable[Control] = (),
    ) -> Plan:
        """Return a checked plan; ``folder`` defaults to a name under ``runs/compare`` made from the contents.

        Raises:
            ArgumentError: If there is no variant, a model or seed is given twice, ``arguments`` holds one that the
                experiment sets itself or a value that JSON cannot hold, or ``seeds`` or ``split`` cannot be used.
        """
        controls = tuple(controls)
        models = (models,) if isinstance(models, str) else tuple(str(model) for model in models)
        if not models and not controls:
            raise ArgumentError("compare: no variant given; name at least one model to compare with the base")
        everyone = [str(base), *models]
        twice = sorted({model for model in everyone if everyone.count(model) > 1})
        if twice:
            raise ArgumentError(
                f"compare: {twice[0]} is given twice; to train one model twice per seed, use control=repeat"
            )
        if split not in SPLITS:
            raise ArgumentError(f"compare: split={split!r} must be one of {joined(SPLITS)}")
        given = dict(arguments or {})
        for name in given:
            if name in RESERVED:
                raise ArgumentError(f"compare: {name}= is not a training argument here; {RESERVED[name]}")
        try:
            msgspec.json.encode([base, models, data, str(Path(folder or "").resolve())])
            given = msgspec.json.decode(msgspec.json.encode(given))  # as they will be read back
        except TypeError as error:
            raise ArgumentError(
                f"compare: the training arguments must be numbers, text or lists of them: {error}"
            ) from None
        except UnicodeEncodeError as error:
            raise user_error_in(error) or error from None
        epochs = given.get("epochs", DEFAULT_EPOCHS)
        if isinstance(epochs, bool) or not isinstance(epochs, int) or epochs < 1:
            raise ArgumentError(f"compare: epochs={epochs!r} must be a whole number from 1")
        plan = cls(
            base=str(base),
            models=models,
            data=str(data),
            seeds=read_seeds(seeds),
            arguments=given,
            folder=Path(),
            split=split,  # type: ignore[arg-type]
            controls=controls,
        )
        return msgspec.structs.replace(plan, folder=Path(folder) if folder else Path("runs") / "compare" / plan.name)

    @property
    def epochs(self) -> int:
        """Number of epochs of each run."""
        return int(self.arguments.get("epochs", DEFAULT_EPOCHS))

    @property
    def name(self) -> str:
        """A folder name that says what is compared; more seeds go into the same folder."""
        parts = [f"{name}{self.arguments[name]}" for name in ("epochs", "imgsz") if name in self.arguments]
        rest = {name: value for name, value in self.arguments.items() if name not in ("epochs", "imgsz")}
        if self.split != "auto":
            rest["split"] = self.split
        if rest:
            parts.append(_digest(rest))
        tail = _safe("-".join(parts))
        head = f"{stem(self.data)}-{stem(self.base)}"
        if self.models:
            head += f"-vs-{'+'.join(stem(model) for model in self.models)}"
        head = _safe(head)
        if len(head) + len(tail) >= NAME_LENGTH:
            head = f"{head[: NAME_LENGTH - len(tail) - 10]}-{_digest(self.models)}"
        return f"{head}-{tail}" if tail else head

    @property
    def id(self) -> str:
        """A digest of base, data, split and arguments. Models and seeds are not in it: an experiment may grow."""
        recipe = {"base": self.base, "data": self.data, "split": self.split, "arguments": self.arguments}
        return _digest(recipe, 12)

    @property
    def planned_models(self) -> list[PlannedModel]:
        """The models: the baseline, the variants, the controls."""
        found: list[PlannedModel] = []

        def add(file: str, name: str, role: Role, seeds: tuple[int, ...], **rest: Any) -> None:
            found.append(PlannedModel(_unique(name, [model.name for model in found]), file, role, seeds, **rest))

        add(self.base, stem(self.base), "baseline", self.seeds)
        for file in self.models:
            add(file, stem(file), "variant", self.seeds)
        names = {model.file: model.name for model in found}
        for control in self.controls:
            file, seeds = self.base, tuple(seed + REPEAT for seed in self.seeds)
            if control.kind != "repeat":
                file, seeds = str(self.folder / "controls" / f"{control.name}.yaml"), self.seeds
            variants = tuple(names.get(variant, variant) for variant in control.variants)
            add(file, control.name, "control", seeds, control=control.kind, variants=variants, note=control.note)
        return found

    @property
    def runs(self) -> list[Run]:
        """The runs, seed by seed, so that what is finished early can be compared early."""
        models = self.planned_models
        names: list[str] = []
        for model in models:
            names.append(_unique(_safe(model.name), names))
        runs = []
        for index in range(len(self.seeds)):
            for model, name in zip(models, names, strict=True):
                own = f"{name}-seed{model.seeds[index]}"
                folder = self.folder / own
                runs.append(Run(own, model.name, model.file, model.seeds[index], folder, model.role, model.control))
        return runs

    def run(self, name: str) -> Run:
        """Return the run called ``name``."""
        return next(run for run in self.runs if run.name == name)

    def save(self) -> None:
        """Write ``plan.json`` and the controls' model YAMLs."""
        for control in self.controls:
            if control.model_yaml:
                write_text(self.folder / "controls" / f"{control.name}.yaml", control.model_yaml)
        recipe = {name: getattr(self, name) for name in _Recipe.__struct_fields__}
        write(self.folder / "plan.json", PlanFile(id=self.id, digests=self.digests(), **recipe))

    @classmethod
    def load(cls, folder: str | Path) -> Plan:
        """Return the plan kept in ``folder``.

        Raises:
            ArgumentError: If there is none.
            DataError: If it cannot be read.
        """
        kept = _kept(Path(folder))
        if kept is None:
            raise ArgumentError(f"{folder}: no experiment here (no plan.json)")
        return cls._of(kept, Path(folder))

    @classmethod
    def _of(cls, kept: PlanFile, folder: Path) -> Plan:
        return cls(folder=folder, **{name: getattr(kept, name) for name in _Recipe.__struct_fields__})

    @property
    def has_trained(self) -> bool:
        """Whether a run has finished an epoch. Before that, its files and its data set may be corrected."""
        return any(run.record.exists() or (run.folder / "results.csv").exists() for run in self.runs)

    def claim(self) -> list[str] | None:
        """Reserve the folder for this experiment.

        Returns:
            None if the folder is new; else what the experiment has grown by, a phrase each for seeds and models.

        Raises:
            ArgumentError: If the folder holds another experiment, or something else.
        """
        kept = self._kept_plan()
        if kept is None:
            self.save()
            return None
        old = Plan._of(kept, self.folder)
        changed = [*self.differences(old), *self.changed_files(kept.digests)]
        if changed and old.has_trained:
            raise ArgumentError(
                f"{self.folder} holds another experiment: {'; '.join(changed)}. Use another folder=, or delete it"
            )
        grown = [
            f"{kind} {_listed(added)}"
            for kind, new, before in self._lists(old)
            if (added := [item for item in new if item not in before])
        ]
        grown += [f"{phrase} before the first epoch" for phrase in changed]
        if grown or self.digests() != kept.digests:
            self.save()
        return grown

    def check_folder(self) -> None:
        """Check that the folder is new, or holds an experiment.

        Raises:
            ArgumentError: If it holds something else.
            DataError: If the experiment's plan cannot be read.
        """
        self._kept_plan()

    def _kept_plan(self) -> PlanFile | None:
        kept = _kept(self.folder)
        if kept is None and self.folder.exists() and (not self.folder.is_dir() or any(_listing(self.folder))):
            raise ArgumentError(f"{self.folder} exists and holds no experiment; use another folder=")
        return kept

    def check_files(self) -> None:
        """Check that models, data YAML and pretrained weights are those of the plan in the folder.

        Raises:
            ArgumentError: If one has changed while the experiment runs.
        """
        kept = _kept(self.folder)
        if kept and (changed := self.changed_files(kept.digests)):
            raise ArgumentError(
                f"{'; '.join(changed)} since the experiment in {self.folder} began. Restore it, or use another folder="
            )

    def changed_files(self, before: Mapping[str, str]) -> list[str]:
        """Return a phrase for each file whose digest is not that in ``before``; a file that was not there has none."""
        now = self.digests()
        return [f"the file {_shown(name)} has changed" for name in before if now.get(name) != before[name]]

    def differences(self, old: Plan) -> list[str]:
        """Return a phrase for each difference from ``old``; added seeds, models and controls are none."""
        mine, its = self._scalars(), old._scalars()
        absent = "not given"
        found = [
            f"{name} was {its.get(name, absent)}, now {mine.get(name, absent)}"
            for name in {**its, **mine}
            if its.get(name, absent) != mine.get(name, absent)
        ]
        found += [
            f"{kind} were {_listed(before)}, now {_listed(new)}"
            for kind, new, before in self._lists(old)
            if any(item not in new for item in before)
        ]
        yamls = {control.name: control.model_yaml for control in self.controls}
        return found + [
            f"the model of control {control.name} has changed"
            for control in old.controls
            if yamls.get(control.name, control.model_yaml) != control.model_yaml
        ]

    def _lists(self, old: Plan) -> list[tuple[str, list[Any], list[Any]]]:
        """Return what may grow: its name, now and in ``old``."""
        return [
            ("seeds", list(self.seeds), list(old.seeds)),
            ("models", list(self.models), list(old.models)),
            ("controls", [control.name for control in self.controls], [control.name for control in old.controls]),
        ]

    def _scalars(self) -> dict[str, Any]:
        return {"base": self.base, "data": self.data, "split": self.split, **self.arguments}

    def digests(self) -> dict[str, str]:
        """Return the SHA-256 of the file behind each name of a model, data set or checkpoint, where there is one."""
        weights = self.arguments.get("pretrained")
        names = [self.data, self.base, *self.models, *([weights] if isinstance(weights, str) else [])]
        found = {name: yaml_files.resolve(name) for name in names}
        return {name: hashlib.sha256(file.read_bytes()).hexdigest() for name, file in found.items() if file}


def _shown(name: str) -> str:
    """Return a name, with the file that it means where that has another name."""
    file = yaml_files.resolve(name)
    return name if file is None or file.name == Path(name).name else f"{file.name} (as {Path(name).name})"


def read_seeds(seeds: Iterable[int] | int | str) -> tuple[int, ...]:
    """Return seeds given as numbers, or as text: ``0-4``, ``0,2,5`` or both mixed.

    Raises:
        ArgumentError: If there are none, one is not a whole number from 0, or one is given twice.
    """
    example = "e.g. seeds=0-4 or seeds=0,1,2"
    found: list[int] = []
    parts: Iterable[Any] = [seeds]
    if isinstance(seeds, str):
        parts = re.sub(r"^\s*(?:\[(.*)\]|\((.*)\))\s*$", r"\1\2", seeds).split(",")
    elif isinstance(seeds, Iterable):
        parts = seeds
    for part in parts:
        text = str(part).strip()
        span = re.fullmatch(r"(\d+)-(\d+)", text)
        if isinstance(part, bool) or not (span or re.fullmatch(r"\d+", text)):
            raise ArgumentError(
                f"compare: seeds={seeds}: {text or 'nothing'!r} is not a whole number from 0; {example}"
            )
        first, last = (int(span[1]), int(span[2])) if span else (int(text), int(text))
        if last < first:
            raise ArgumentError(f"compare: seeds={seeds}: {text} runs backwards; {example}")
        if last - first >= REPEAT or last >= 2**31:
            raise ArgumentError(f"compare: seeds={seeds}: {text} are too many or too large; {example}")
        found += range(first, last + 1)
    twice = sorted({seed for seed in found if found.count(seed) > 1})
    if twice:
        raise ArgumentError(f"compare: seed {twice[0]} is given twice; it would repeat the same run")
    if not found:
        raise ArgumentError(f"compare: no seeds given; {example}")
    return tuple(found)


def stem(path: str) -> str:
    """Return a model's or data set's name without folder and ``.yaml``; a checkpoint keeps its ``.pt``.

    A very long name is cut: files and folders are named after it.
    """
    name = Path(path).name
    name = re.sub(r"\.ya?ml$", "", name) or name
    return name if len(os.fsencode(name)) <= LONGEST_STEM else f"{name[:40]}-{_digest(name)}"


def _kept(folder: Path) -> PlanFile | None:
    try:
        return read(folder / "plan.json", PlanFile)
    except DataError as error:
        if folder.is_dir():
            raise
        raise ArgumentError(f"{folder} is a file; use another folder=") from error


def _listing(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.name != LOCK]


def _unique(name: str, taken: list[str]) -> str:
    """Return ``name``, with a number if it is taken: two folders may hold models of one name."""
    choices = itertools.chain([name], (f"{name}-{number}" for number in itertools.count(2)))
    return next(choice for choice in choices if choice not in taken)


def _listed(items: Iterable[Any]) -> str:
    return ",".join(map(str, items)) or "none"


def _safe(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.+-]+", "_", name)


def _digest(value: Any, length: int = 6) -> str:
    return hashlib.sha256(msgspec.json.encode(value, order="sorted")).hexdigest()[:length]
