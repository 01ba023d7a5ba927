"""From run folders to scores: one `Evaluation` for each run and setting, named as the report names it."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dtag.data.dataset import DatasetInfo, Reference
from dtag.data.reference_scores import reference_as_evaluated
from dtag.errors import CheckpointError
from dtag.evaluation.evaluate import AG_OFF, AG_ON
from dtag.report.method_names import NAMES, ONLINE_NAMES, name_of_changed, online_name, shipped_name
from dtag.report.run_records import RunRecord
from dtag.training.checkpoint import read_checkpoint

Pick = Literal["", "unpicked", "picked"]


@dataclass(frozen=True)
class Evaluation:
    """A trained seed's episodes under one setting.

    dataset, method: as the report names them. base: the method without Action Gradient, shipped: its conf/methods name.
    rows: its episodes, a dict each as the run wrote them. pick: "picked" where this setting was chosen among others by
    these very scores, "unpicked" for the default beside it. n_cells: how many there were to choose from.
    """

    dataset: str
    method: str
    base: str
    setting: str
    record: RunRecord = field(repr=False)
    rows: tuple[dict[str, Any], ...] = field(repr=False)
    shipped: str | None = None
    reference: Reference | None = None
    environment: str | None = None
    pick: Pick = ""
    n_cells: int = 0
    rule: str | None = None

    @property
    def seed(self) -> int:
        return self.record.seed

    @property
    def is_refined(self) -> bool:
        return not self.setting.startswith(AG_OFF)

    @cached_property
    def returns(self) -> NDArray[np.float64]:
        return np.array([row["return"] for row in self.rows], np.float64)

    @cached_property
    def scores(self) -> NDArray[np.float64] | None:
        """Normalised scores of its episodes; None without reference returns."""
        scores = [row.get("score") for row in self.rows]
        return None if None in scores else np.array(scores, np.float64)

    @property
    def value(self) -> float:
        """The run's number: its mean score over episodes, or mean return where there are no scores."""
        return float(np.mean(self.returns if self.scores is None else self.scores))

    @property
    def before(self) -> float | None:
        """What `value` was before fine-tuning; None where there was none, or no evaluation of it."""
        quantity = "return" if self.scores is None else "score"
        mean = ((self.record.before.get(self.setting) or {}).get(quantity) or {}).get("mean")
        return None if mean is None else float(mean)


@dataclass(frozen=True)
class Collected:
    """evaluations: what the report counts. listed: runs without episodes to count. notes: what was done and why."""

    evaluations: list[Evaluation]
    listed: list[RunRecord]
    notes: list[str]


def collect(records: Sequence[RunRecord]) -> Collected:
    """The finished runs' evaluations, with equal ones counted once, and everything that is not counted by name."""
    notes: list[str] = []
    listed = [r for r in records if r.status != "done" or (not r.rows and r.kind != "critic")]
    counted = [record for record in records if record.status == "done" and record.rows and not record.is_pretraining]
    datasets, methods = _dataset_names(counted), _method_names(counted)
    origins: dict[str, DatasetInfo | None] = {}
    evaluations: list[Evaluation] = []
    for record in counted:
        info, section = _origin(record, origins), record.config.get("eval") or {}
        reference = None if info is None else reference_as_evaluated(info, section)
        environment = section.get("environment", "dataset")
        if environment in ("dataset", None):
            environment = None if info is None else info.environment
        named = online_name if record.is_online else shipped_name
        shipped = named(record.config, record.own_names[1] if record.own_names else "")
        for setting in dict.fromkeys(row["label"] for row in record.rows):
            rows = tuple(row for row in record.rows if row["label"] == setting)
            method, base = _with_setting(methods[id(record)], setting, record)
            names = (datasets[id(record)], method, base, setting)
            rule = (record.config.get("ag") or {}).get("rule") if setting.startswith(AG_ON) else None
            evaluations.append(Evaluation(*names, record, rows, shipped, reference, environment=environment, rule=rule))
    return Collected(_once_each(evaluations, notes), listed, notes)


def _dataset_names(records: Sequence[RunRecord]) -> dict[int, str]:
    """A sweep's name for a dataset where it stands for one id only, else the id; by id() of the record."""
    ids: dict[str, set[str]] = defaultdict(set)  # by a sweep's name for it
    names: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))  # by id and sweep
    for record in records:
        if record.own_names:
            ids[record.own_names[0]].add(record.data_id)
            names[record.data_id][record.experiment].add(record.own_names[0])

    def name(record: RunRecord) -> str:
        by_sweep = names[record.data_id].values()
        every = set().union(*by_sweep)
        if record.own_names and any(len(own) > 1 for own in by_sweep):
            return record.own_names[0]  # one sweep changes more of the data than its id
        return next(iter(every)) if len(every) == 1 and len(ids[next(iter(every))]) == 1 else record.data_id

    return {id(record): name(record) for record in records}


def _method_names(records: Sequence[RunRecord]) -> dict[int, str]:
    """A sweep's name for its method or the shipped method's; with what differs where two share one on the same data."""
    names: dict[int, str] = {}
    groups: dict[tuple[str, str], list[tuple[str, dict[str, Any], RunRecord]]] = defaultdict(list)
    offline = {_own_name(record) for record in records if not record.is_online}
    for record in records:
        own, name = record.own_names, _own_name(record)
        if record.is_online and name in offline:
            name += ", online"
        origin = record.experiment if own else ""
        groups[name, record.data_id].append((origin, {} if own else _identity(record), record))
    for (name, _), members in groups.items():
        kinds: list[tuple[str, dict[str, Any]]] = []
        for origin, identity, _ in members:
            if (origin, identity) not in kinds:
                kinds.append((origin, identity))
        told = _distinctions(kinds)
        for origin, identity, record in members:
            names[id(record)] = name + told[kinds.index((origin, identity))]
    return names


def _own_name(record: RunRecord) -> str:
    """Of its method, whatever other runs there are."""
    if record.own_names:
        return _display(record.own_names[1], ONLINE_NAMES if record.is_online else NAMES)
    if record.is_online:
        return ONLINE_NAMES.get(online_name(record.config) or "", record.experiment)
    shipped = shipped_name(record.config)
    return NAMES[shipped] if shipped else name_of_changed(record.config, record.experiment)


def _distinctions(kinds: list[tuple[str, dict[str, Any]]]) -> list[str]:
    """What tells each of the configs of one name from the first, in brackets; the first has none, no two are equal."""
    found = [""]
    first_origin, first = kinds[0]
    for place, (origin, identity) in enumerate(kinds[1:], 2):
        changed = [f"{key}={value}" for key, value in identity.items() if first.get(key) != value] if first else []
        removed = [_without(key, identity) for key in first if key not in identity] if identity else []
        words = ([origin] if origin and origin != first_origin else []) + list(dict.fromkeys(changed + removed))[:3]
        told = f" [{', '.join(words) or place}]"
        found.append(told if told not in found else f"{told[:-1]}, {place}]")
    return found


def _without(key: str, identity: dict[str, Any]) -> str:
    """ "losses.return=null": the largest part of a config around a key that another config lacks."""
    names = key.split(".")
    prefixes = (".".join(names[:depth]) for depth in range(1, len(names) + 1))
    missing = next(p for p in prefixes if not any(own == p or own.startswith(f"{p}.") for own in identity))
    return f"{missing}=null"


def _identity(record: RunRecord) -> dict[str, Any]:
    """The config's flat keys that a run's seed, name, data and place do not set."""
    keys = {**flat(record.config), "data.id": None}
    return {key: value for key, value in keys.items() if not _IS_PLACE.match(key) and value is not None}


_IS_PLACE = re.compile(
    r"(experiment|name|output|seed|critic\.ckpt|log\.|data\.id|eval\.seed|train\.(threads|devices|accelerator))"
)


def flat(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"a.b": value} of nested mappings."""
    found: dict[str, Any] = {}
    for name, value in config.items():
        found |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return found


def _display(own: str, names: dict[str, str]) -> str:
    """rf -> RF, dt_ag -> DT+AG; any other name as it is."""
    base = own.removesuffix("_ag")
    return names[own] if own in names else f"{names[base]}+AG" if own != base and base in names else own


def _with_setting(name: str, setting: str, record: RunRecord) -> tuple[str, str]:
    """(method, base) of an evaluation: "RF+AG" of "RF". What a sweep scored again was named for its refinement."""
    kind, _, more = setting.partition(", ")
    if record.is_beside_training and (record.own_names or record.is_online):  # replaces neither a sweep's nor "before"
        more = f"{more}, validated" if more else "validated"
    suffix = f" ({more})" if more else ""
    base, plus, bracket = name.partition(" [")
    tail = plus + bracket + suffix
    if record.kind == "validate" and record.own_names and not record.is_beside_training:
        off = f"{name}, AG off{suffix}"
        return (off, off) if kind == AG_OFF else (name + suffix, off)
    return (base + tail, base + tail) if kind == AG_OFF else (f"{base}+AG{tail}", base + tail)


def _once_each(evaluations: Sequence[Evaluation], notes: list[str]) -> list[Evaluation]:
    """Without what was scored again to the same episodes, and of equal runs of a seed the newest only."""
    kept: dict[tuple[str, str, int], Evaluation] = {}
    by_episodes: dict[tuple[Any, ...], Evaluation] = {}
    known_as: dict[tuple[str, str], str] = {}
    for one in sorted(evaluations, key=lambda e: (e.record.kind == "validate", e.record.provenance.get("started", ""))):
        episodes = (one.dataset, one.seed, tuple((row["seed"], row["return"]) for row in one.rows))
        twin = by_episodes.setdefault(episodes, one)
        if twin is not one and one.record.kind == "validate" and one.is_refined == twin.is_refined:
            known_as[one.dataset, one.method] = twin.method
            continue
        key = (one.dataset, one.method, one.seed)
        if key in kept:
            old = kept[key].record.folder
            notes.append(f"{one.dataset}, {one.method}, seed {one.seed}: {one.record.folder} replaces the older {old}")
        kept[key] = one
    counted = [one for one in evaluations if kept.get((one.dataset, one.method, one.seed)) is one]
    return [replace(one, base=known_as.get((one.dataset, one.base), one.base)) for one in counted]


def _origin(record: RunRecord, known: dict[str, DatasetInfo | None]) -> DatasetInfo | None:
    """What a run's agent remembers of its data; another run's of the same data will do."""
    if record.checkpoint is not None and record.checkpoint.exists():
        try:
            contents = read_checkpoint(record.checkpoint, trust=True)["spec"]["info"]
        except (CheckpointError, KeyError):
            contents = None
        if contents is not None:
            known[record.data_id] = DatasetInfo.from_dict(contents)
    return known.get(record.data_id)


def seeds_of(evaluations: Sequence[Evaluation]) -> Iterator[tuple[tuple[str, str], list[Evaluation]]]:
    """((dataset, method), its evaluations by seed), in the order they were found."""
    groups: dict[tuple[str, str], list[Evaluation]] = {}
    for one in evaluations:
        groups.setdefault((one.dataset, one.method), []).append(one)
    for key, group in groups.items():
        yield key, sorted(group, key=lambda one: one.seed)
