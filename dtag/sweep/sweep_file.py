"""The YAML of a sweep: methods × datasets × seeds, and what is wrong with one."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from dtag.config.build import build
from dtag.config.load import find_config, load_config, refuse_emptying
from dtag.config.nearest import did_you_mean, nearest
from dtag.config.schema import Component, Components, Schema, Value, check
from dtag.config.signature import REQUIRED
from dtag.errors import UsageError
from dtag.sweep.executor import GIB, Needs
from dtag.sweep.machine import n_cores
from dtag.training import experiment

SCHEMA: Schema = {
    "experiment": Value(str, REQUIRED, "the name of the sweep's folder under output"),
    "output": Value(str, "runs", "where run folders go"),
    "methods": Components(help="what is trained, by name; the rows of the table. null drops one"),
    "datasets": Components(help="what it is trained on, by name; the columns. null drops one"),
    "seeds": Value(list[int], [0], "each is a run of every method on every dataset"),
    "preset": Value(str | None, None, "conf/presets/NAME.yaml merged over every run's config"),
    "overrides": Value(list[str], [], "of every run; a dataset's, then a method's come after them"),
    "finetune_preset": Value(str | None, None, "conf/presets/NAME.yaml merged over every fine-tuning's config"),
    "finetune_overrides": Value(list[str], [], "of every fine-tuning, which has its agent's config to start with"),
    "executor": Value(
        Literal["local", "ray"], "local", "processes of this machine, or a Ray cluster (see ray.address)"
    ),
    "jobs": Value(int, 0, "runs at once; 0 = as many as the cores, or the cluster, take"),
    "cpus_per_run": Value(int, 1, "threads of a run"),
    "gpus_per_run": Value(
        float | None, None, "0.25 = four runs to a GPU; null = locally GPUs in turn, without limit; on Ray none"
    ),
    "memory_per_run": Value(
        float | None, None, "GiB; null = as measured on runs alike; no run starts that does not fit"
    ),
    "retries": Value(int, 2, "how often a run starts again, from its checkpoint, when its machine is lost"),
    "ray": Component("dtag.sweep.executor.RaySettings", optional=False),
}
PRESETS = ("preset", "finetune_preset")
SET_BY_THE_SWEEP = ("experiment", "name", "output", "seed", "stage")


@dataclass(frozen=True)
class Method:
    """What is trained, or, with `of`, another evaluation of an agent that is.

    config: the YAML file or files of its runs: in the working directory, beside the sweep's file, or shipped. preset: in
    place of the sweep's. overrides: of its runs only. datasets, seeds: the only ones it runs on; null = all. of: the
    method whose trained agents are scored again, without training, under these overrides (of eval, ag, context); instead
    of config. critic_of: the method whose critic those agents get; null = their own.
    finetune: the YAML file or files, after the dataset's, with which the agents trained by config, preset and overrides
    are fine-tuned online; [] = the dataset's alone, null = the agents are not fine-tuned. Methods that train the same
    agents share their training, as critics are shared. finetune_preset: of the fine-tuning only, in place of the sweep's.
    finetune_overrides: of the fine-tuning only, after the dataset's.
    """

    config: str | tuple[str, ...] | None = None
    preset: str | None = None
    overrides: tuple[str, ...] = ()
    datasets: tuple[str, ...] | None = None
    seeds: tuple[int, ...] | None = None
    of: str | None = None
    critic_of: str | None = None
    finetune: str | tuple[str, ...] | None = None
    finetune_preset: str | None = None
    finetune_overrides: tuple[str, ...] = ()

    def covers(self, dataset: str, seed: int) -> bool:
        """Whether it is to run there."""
        return (self.datasets is None or dataset in self.datasets) and (self.seeds is None or seed in self.seeds)


@dataclass(frozen=True)
class Data:
    """What a dataset changes in every method's config.

    config: YAML file or files merged over it. overrides: of its runs only; a method's come after them. finetune: its
    environment's YAML file or files for fine-tuning, which a method's are merged over. finetune_overrides: of the
    fine-tuning only; a method's come after them.
    """

    config: str | tuple[str, ...] | None = None
    overrides: tuple[str, ...] = ()
    finetune: str | tuple[str, ...] | None = None
    finetune_overrides: tuple[str, ...] = ()


EntryT = TypeVar("EntryT", Method, Data)


@dataclass(frozen=True)
class Sweep:
    """A checked sweep. settings: all of it in plain containers. command_line: overrides typed there; they win."""

    settings: dict[str, Any]
    methods: dict[str, Method]
    datasets: dict[str, Data]
    command_line: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        return Path(self.settings["output"], self.settings["experiment"])

    @property
    def seeds(self) -> list[int]:
        return list(self.settings["seeds"])

    @property
    def n_workers(self) -> int:
        """Runs at once on this machine."""
        return int(self.settings["jobs"]) or max(n_cores() // self.needs.cpus, 1)

    @property
    def needs(self) -> Needs:
        """What one run takes."""
        memory = self.settings["memory_per_run"]
        n_bytes = None if memory is None else int(memory * GIB)
        return Needs(self.settings["cpus_per_run"], self.settings["gpus_per_run"], n_bytes)


def is_sweep(path: str) -> bool:
    """Whether a YAML plans runs, rather than a grid over one checkpoint."""
    return bool({"methods", "datasets"} & load_config([path]).keys())


def read_sweep(path: str, overrides: Sequence[str] = ()) -> Sweep:
    """The sweep in a YAML file. Overrides of its own keys change it, those of an experiment's sections all its runs.

    Raises one UsageError that lists every mistake.
    """
    of_runs = [word for word in overrides if _section(word) in experiment.SCHEMA and _section(word) not in SCHEMA]
    _check_removals(load_config([path]), overrides)
    refuse_emptying(overrides, ("methods", "datasets"))
    config = load_config([path], [word for word in overrides if word not in of_runs])
    named = {"methods": Method, "datasets": Data}
    settings = check({key: _with_targets(value, named.get(key)) for key, value in config.items()}, SCHEMA)
    folder = find_config(path).parent
    settings = {**settings, **{key: _at(folder, settings[key]) for key in PRESETS if settings[key] is not None}}
    built = {key: {name: build(entry) for name, entry in settings[key].items()} for key in named}
    methods, datasets = ({name: _beside(folder, entry) for name, entry in built[key].items()} for key in named)
    sweep = Sweep(settings, methods, datasets, tuple(of_runs))
    raise_all(_mistakes(sweep))
    return sweep


def _beside(folder: Path, entry: EntryT) -> EntryT:
    """The entry with the files that lie beside the sweep's own named there."""
    files = {key: getattr(entry, key, None) for key in ("config", "finetune", *PRESETS)}
    found: Any = {key: _at(folder, its) if isinstance(its, str) else tuple(_at(folder, file) for file in its)
                  for key, its in files.items() if its is not None}  # fmt: skip
    return replace(entry, **found)


def _at(folder: Path, file: str) -> str:
    """Where a file is that the working directory has not, but the sweep's own folder has."""
    return str(folder / file) if not Path(file).expanduser().is_file() and (folder / file).is_file() else file


def _check_removals(config: dict[str, Any], overrides: Sequence[str]) -> None:
    """Refuses to drop a method or dataset that is not there: it would be a misspelling without an effect."""
    for word in overrides:
        section, _, rest = word.partition(".")
        name = rest.removesuffix("=null")
        known = config.get(section) or {}
        if section in ("methods", "datasets") and rest.endswith("=null") and "." not in name and name not in known:
            offers = did_you_mean(nearest(name, known))
            raise UsageError(f"the override '{word}' drops nothing: {section} are {', '.join(known)}{offers}")


def raise_all(mistakes: Sequence[str]) -> None:
    """One UsageError of them all; nothing when there are none."""
    if mistakes:
        title = f"{len(mistakes)} mistake{'s' if len(mistakes) > 1 else ''} in the sweep:"
        raise UsageError("\n  ".join([title, *(mistake.replace("\n", "\n  ") for mistake in mistakes)]))


def _with_targets(entries: Any, kind: type | None) -> Any:
    """Named entries as components, so that they are checked against their class."""
    if kind is None or not isinstance(entries, dict):
        return entries
    path = f"{kind.__module__}.{kind.__qualname__}"
    return {
        name: {**entry, "target": path} if isinstance(entry, dict) and "target" not in entry else entry
        for name, entry in entries.items()
    }


def _mistakes(sweep: Sweep) -> list[str]:
    """What the types do not tell."""
    found = [f"{key}: at least one is needed" for key in ("methods", "datasets", "seeds") if not sweep.settings[key]]
    least = {"jobs": 0, "cpus_per_run": 1, "gpus_per_run": 0, "memory_per_run": 0, "retries": 0}
    found += [
        f"{key}: found {sweep.settings[key]}, expected {bound} or more"
        for key, bound in least.items()
        if sweep.settings[key] is not None and sweep.settings[key] < bound
    ]
    gpus = sweep.settings["gpus_per_run"] or 0
    if gpus > 1 and gpus != int(gpus):
        found.append(f"gpus_per_run: found {gpus:g}, expected a share of one GPU, up to 1, or whole ones")
    found += [
        f"ray.environment: found {word}, expected NAME=VALUE"
        for word in sweep.settings["ray"]["environment"]
        if "=" not in word
    ]
    found += [f"seeds: {seed} is there twice" for seed in _twice(sweep.seeds)]
    for key in ("methods", "datasets"):
        found += [
            f"{key}.{name}: a name becomes a folder's, and a key on the command line, which splits at dots: letters, digits and "
            "- _ + only, and neither 'critics' nor 'pretrained'"
            for name in sweep.settings[key]
            if not re.fullmatch(r"\w[\w+-]*", name) or name in ("critics", "pretrained")
        ]
    written = {"overrides": sweep.settings["overrides"], "the command line": sweep.command_line}
    written |= {f"datasets.{name}.overrides": data.overrides for name, data in sweep.datasets.items()}
    written |= {f"methods.{name}.overrides": method.overrides for name, method in sweep.methods.items()}
    if all(method.finetune is None for method in sweep.methods.values()):
        found += [f"the command line: no method is fine-tuned, to {word}" for word in sweep.command_line
                  if word.startswith("online.")]  # fmt: skip
    written |= {"finetune_overrides": sweep.settings["finetune_overrides"]}
    written |= {f"datasets.{name}.finetune_overrides": d.finetune_overrides for name, d in sweep.datasets.items()}
    written |= {f"methods.{name}.finetune_overrides": m.finetune_overrides for name, m in sweep.methods.items()}
    found += [
        f"{key}: {word} is set by the sweep; remove it"
        for key, words in written.items()
        for word in words
        if word.partition("=")[0] in SET_BY_THE_SWEEP
    ]
    for name, method in sweep.methods.items():
        found += _mistakes_of_method(name, method, sweep)
    return found


def _mistakes_of_method(name: str, method: Method, sweep: Sweep) -> Iterator[str]:
    key = f"methods.{name}"
    if (method.config is None) == (method.of is None):
        yield f"{key}: give either config, to train it, or of, to score another method's agents again"
    if method.critic_of is not None and method.of is None:
        yield f"{key}.critic_of: goes with `of`; a method that is trained names its critic in its config"
    if method.finetune is not None and method.of is not None:
        yield f"{key}.finetune: goes with config; `of` scores agents again without training"
    if method.finetune is None and (method.finetune_preset is not None or method.finetune_overrides):
        yield f"{key}.finetune: is not given, but its preset or overrides are; [] fine-tunes with the dataset's files"
    trained = [other for other, its in sweep.methods.items() if its.of is None]
    for field, value in (("of", method.of), ("critic_of", method.critic_of)):
        if value is not None and value not in trained:
            offers = did_you_mean(nearest(value, trained))
            yield f"{key}.{field}: '{value}' is not a method that is trained ({', '.join(trained)}){offers}"
    for dataset in method.datasets or ():
        if dataset not in sweep.datasets:
            yield f"{key}.datasets: there is no dataset '{dataset}'{did_you_mean(nearest(dataset, sweep.datasets))}"
    yield from (
        f"{key}.seeds: {seed} is not one of the sweep's seeds" for seed in set(method.seeds or ()) - {*sweep.seeds}
    )


def _twice(values: Sequence[int]) -> list[int]:
    return sorted({value for value in values if values.count(value) > 1})


def _section(override: str) -> str:
    return re.split(r"[.=\[]", override)[0]
