"""From a sweep to its jobs: a pure function, nothing is read but the YAML files it names."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dtag.config.load import find_config, load_config
from dtag.errors import UsageError
from dtag.sweep.job import PRODUCTS, Cell, Job, Kind
from dtag.sweep.shared_critic import critic_name, is_trained_before, pretraining_name
from dtag.sweep.sweep_file import Method, Sweep, raise_all
from dtag.training.experiment import CHANGEABLE, OF_AN_EVALUATION, SCHEMA, changes_of_training, load_over, resolve
from dtag.training.resolve_online import resolve_online

# Of the command line's overrides: those of an evaluation, of a fine-tuning alone, and of both its parts; all else is of the
# first part.
EVALUATION_WORDS = tuple(f"{section}." for section in OF_AN_EVALUATION)
OF_A_FINETUNING = ("online.",)
OF_BOTH = (*EVALUATION_WORDS, "log.")


def plan(sweep: Sweep) -> list[Job]:
    """The sweep's jobs, each after those it needs: seed by seed, so that an early stop leaves whole comparisons.

    Runs whose critics would be the same get one critic a dataset and seed, from a job of its own, and fine-tunings whose
    agents would be trained alike get one training. Raises one UsageError that lists every mistake in every config.
    """
    planner = _Planner(sweep)
    trained_first = sorted(sweep.methods.items(), key=lambda item: item[1].of is not None)
    for seed in sweep.seeds:
        for dataset in sweep.datasets:
            for name, method in trained_first:
                if method.covers(dataset, seed):
                    planner.kind_of(method)(Cell(dataset, name, seed), method)
    raise_all(list(planner.mistakes))
    return list(planner.jobs.values())


@dataclass(frozen=True)
class _Fit:
    """A `dtag fit`: its config files, preset and overrides."""

    files: tuple[str, ...]
    preset: str | None
    overrides: tuple[str, ...]

    def words(self, cell: Cell, *more: str) -> tuple[str, ...]:
        files = [word for file in self.files for word in ("--config", file)]
        preset = ["--preset", self.preset] if self.preset else []
        return ("fit", *files, *preset, *self.overrides, f"name={cell}", *more)

    def config(self, cell: Cell) -> dict[str, Any]:
        """What the command resolves to; a UsageError lists every mistake."""
        return resolve(list(self.files), [*self.overrides, f"name={cell}"], self.preset)


@dataclass(frozen=True)
class _Finetuning(_Fit):
    """A `dtag finetune`, of the agent of another job."""

    agent: Job

    def words(self, cell: Cell, *more: str) -> tuple[str, ...]:
        start = ("--ckpt", str(self.agent.folder / "agent.ckpt"), "--trust")  # the agent is this sweep's own
        return ("finetune", *start, *super().words(cell, *more)[1:])

    def config(self, cell: Cell) -> dict[str, Any]:
        overrides = [*self.overrides, f"name={cell}"]
        return resolve_online({"config": self.agent.config}, list(self.files), overrides, self.preset)


class _Planner:
    """jobs, critics: by run. critics: the file of a run's critic and the jobs that write it. mistakes: the keys, in the
    order they were met; one mistake meets many seeds.
    """

    def __init__(self, sweep: Sweep) -> None:
        self.sweep = sweep
        self.jobs: dict[str, Job] = {}
        self.critics: dict[str, tuple[Path, tuple[str, ...]]] = {}
        self.mistakes: dict[str, None] = {}
        self.nulls: dict[tuple[tuple[str, ...], tuple[str, ...]], list[str]] = {}
        self.resolved: dict[tuple[Any, ...], dict[str, Any]] = {}  # configs of one seed, which are those of every other

    def kind_of(self, method: Method) -> Callable[[Cell, Method], None]:
        """What plans such a method's run."""
        if method.of is not None:
            return self.score_again
        return self.train if method.finetune is None else self.finetune

    def finetune(self, cell: Cell, method: Method) -> None:
        """A fine-tuning's job, and before it that which trains its agent, unless another's is the same."""
        where = f"methods.{cell.method} with datasets.{cell.dataset}"
        try:
            fit = self._fit(cell, method)
            name = pretraining_name(self._config(fit, cell), _files(method.config))
        except UsageError as error:
            self._mistake(f"{where}: {error}")
            return
        first = replace(cell, method=f"pretrained/{name}")
        if str(first) not in self.jobs:
            self.train(first, method)
        try:
            tuning = self._finetuning(method, self.jobs[str(first)])
            config = self._config(tuning, cell)
        except UsageError as error:
            self._mistake(f"{where}, fine-tuning: {error}")
            return
        if config["critic"] is not None:
            self.critics[str(cell)] = self._folder(cell) / "agent.ckpt", (str(cell),)
        self._add("finetune", cell, tuning.words(cell), config, (str(first),))

    def train(self, cell: Cell, method: Method) -> None:
        """A policy's job, and before it that of its critic, unless another run's is the same."""
        try:
            fit = self._fit(cell, method)
            config = self._config(fit, cell)
        except UsageError as error:
            self._mistake(f"methods.{cell.method} with datasets.{cell.dataset}: {error}")
            return
        needs: tuple[str, ...] = ()
        given: tuple[str, ...] = ()
        critic = config["critic"]
        if is_trained_before(config):
            file, needs = self._critic_job(cell, fit, config)
            given, config = (f"critic.ckpt={file}",), {**config, "critic": {**critic, "ckpt": str(file)}}
            self.critics[str(cell)] = file, needs
        elif critic is not None:  # one from elsewhere, or one that is saved with its policy
            own = self._folder(cell) / "agent.ckpt", (str(cell),)
            self.critics[str(cell)] = (Path(critic["ckpt"]), ()) if critic.get("ckpt") else own
        self._add("policy", cell, fit.words(cell, *given), config, needs)

    def score_again(self, cell: Cell, method: Method) -> None:
        """The job of another evaluation, where the agent and the critic that it asks for are made."""
        agent, lender = self._job_of(method.of, cell), self._job_of(method.critic_of or method.of, cell)
        if agent is None or lender is None:
            return
        config = agent.config
        needs: tuple[str, ...] = (agent.name,)
        attached: tuple[str, ...] = ()
        if method.critic_of is not None:
            if lender.name not in self.critics:
                self._mistake(f"methods.{cell.method}.critic_of: {method.critic_of} has no critic")
                return
            file, writers = self.critics[lender.name]
            needs, attached = (*needs, *writers), (f"critic.ckpt={file}",)
            config = {**config, "critic": lender.config["critic"]}
        overrides = (*method.overrides, *(w for w in self.sweep.command_line if w.startswith(EVALUATION_WORDS)))
        config = self._changed(config, overrides, f"methods.{cell.method} with datasets.{cell.dataset}")
        files = ("--ckpt", str(agent.folder / "agent.ckpt"), "--json", str(self._folder(cell) / PRODUCTS["validate"]))
        words = ("validate", *files, "--trust", *attached, *overrides)  # the agent is this sweep's own
        self._add("validate", cell, words, {**config, "name": str(cell)}, needs)

    def _job_of(self, method: str | None, cell: Cell) -> Job | None:
        """Another method's job on the same dataset and seed, if it runs there."""
        return self.jobs.get(str(replace(cell, method=str(method))))

    def _critic_job(self, cell: Cell, fit: _Fit, config: dict[str, Any]) -> tuple[Path, tuple[str, ...]]:
        """The file of the critic of `config`, and the job that writes it."""
        own = replace(cell, method=f"critics/{critic_name(config)}")
        if str(own) not in self.jobs:
            self._add("critic", own, fit.words(own, "--stage", "critic"), {**config, "name": str(own)})
        return self.jobs[str(own)].product, (str(own),)

    def _add(
        self, kind: Kind, cell: Cell, words: tuple[str, ...], config: dict[str, Any], needs: Sequence[str] = ()
    ) -> None:
        unique = tuple(dict.fromkeys(needs))
        self.jobs[str(cell)] = Job(kind, cell, folder=self._folder(cell), words=words, config=config, needs=unique)

    def _changed(self, base: dict[str, Any], overrides: Sequence[str], where: str) -> dict[str, Any]:
        """A trained run's config under the overrides of another evaluation; those that need training are mistakes."""
        try:
            config = load_over([], overrides, base)
        except UsageError as error:
            self._mistake(f"{where}: {error}")
            return base
        for key in changes_of_training(config, base):
            self._mistake(f"{where}: {key} cannot be changed without training; {CHANGEABLE}")
        return config

    def _fit(self, cell: Cell, method: Method) -> _Fit:
        """What both a run and its critic's are started with; the later override wins.

        A section that the method or the dataset sets to null stays null: a preset's or the command line's critic.n_steps
        gives no critic to a method that has none.
        """
        settings, data = self.sweep.settings, self.sweep.datasets[cell.dataset]
        files, own = (*_files(method.config), *_files(data.config)), (*data.overrides, *method.overrides)
        typed = tuple(word for word in self.sweep.command_line if not word.startswith(OF_A_FINETUNING))
        overrides = (
            f"train.threads={self.sweep.needs.cpus}",
            *settings["overrides"],
            *own,
            *typed,
            *self._place(cell.seed),
            *self._nulls(files, own),
        )
        return _Fit(files, method.preset or settings["preset"], overrides)

    def _nulls(self, files: tuple[str, ...], own: tuple[str, ...]) -> list[str]:
        """What keeps the sections null that these files and overrides set to null."""
        if (files, own) not in self.nulls:
            named = load_config(files, own)
            self.nulls[files, own] = [
                f"{name}=null" for name, value in named.items() if value is None and name in SCHEMA
            ]
        return self.nulls[files, own]

    def _config(self, fit: _Fit, cell: Cell) -> dict[str, Any]:
        """What the command resolves to: resolved once for all seeds, unless its files refer to a seed or a name."""
        parts = [*fit.overrides, *(find_config(file).read_text() for file in fit.files)]
        if any(f"${{{key}" in part for part in parts for key in ("seed", "name")):
            return fit.config(cell)
        agent = ""
        if isinstance(fit, _Finetuning):  # which may hold a seed's own: a shared critic's file is one
            agent = json.dumps({**fit.agent.config, "seed": None, "name": None})
        overrides = tuple(word for word in fit.overrides if not word.startswith("seed="))
        key = (cell.dataset, agent, fit.files, fit.preset, overrides)
        if key not in self.resolved:
            self.resolved[key] = fit.config(cell)
        return {**self.resolved[key], "seed": cell.seed, "name": str(cell)}

    def _finetuning(self, method: Method, agent: Job) -> _Finetuning:
        """What a fine-tuning is started with: the dataset's files, then the method's, and overrides in the same order."""
        settings, data = self.sweep.settings, self.sweep.datasets[agent.cell.dataset]
        files = (*_files(data.finetune), *_files(method.finetune))
        own = (*data.finetune_overrides, *method.finetune_overrides)
        typed = tuple(word for word in self.sweep.command_line if word.startswith((*OF_A_FINETUNING, *OF_BOTH)))
        overrides = (
            *settings["finetune_overrides"],
            *own,
            *typed,
            *self._place(agent.cell.seed),
            *self._nulls(files, own),
        )
        return _Finetuning(files, method.finetune_preset or settings["finetune_preset"], overrides, agent)

    def _place(self, seed: int) -> tuple[str, ...]:
        settings = self.sweep.settings
        return f"output={settings['output']}", f"experiment={settings['experiment']}", f"seed={seed}"

    def _folder(self, cell: Cell) -> Path:
        return self.sweep.folder / str(cell)

    def _mistake(self, text: str) -> None:
        self.mistakes[text] = None


def _files(config: str | tuple[str, ...] | None) -> tuple[str, ...]:
    return (config,) if isinstance(config, str) else config or ()
