"""Runs on disk as they are found: finished, unfinished and failed."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from dtag.config.load import load_config
from dtag.errors import UsageError
from dtag.training.run_folder import RunFolder

Status = Literal["done", "unfinished", "failed", "not started"]
Kind = Literal["fit", "finetune", "validate", "critic"]
_OF_A_SWEEP = re.compile(r"(?P<dataset>[^/]+)/(?P<method>.+)/seed-\d+")


@dataclass(frozen=True)
class RunRecord:
    """A run's folder. rows: its result's episodes. message: why it is not done. checkpoint: of its agent. before: of a
    fine-tuning, {setting: {quantity: {"mean", ...}}} of its agent at the start.
    """

    folder: Path
    kind: Kind
    status: Status
    config: dict[str, Any] = field(default_factory=dict, repr=False)
    provenance: dict[str, Any] = field(default_factory=dict, repr=False)
    rows: tuple[dict[str, Any], ...] = field(default=(), repr=False)
    rows_file: Path | None = None
    checkpoint: Path | None = None
    message: str = ""
    before: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def is_trained(self) -> bool:
        """Whether it left an agent of its own; not another evaluation of one."""
        return self.kind in ("fit", "finetune")

    @property
    def is_beside_training(self) -> bool:
        """Whether it is another evaluation, by `dtag validate`, in the folder of the run that trained the agent."""
        return self.kind == "validate" and RunFolder(self.folder).results.is_file()

    @property
    def is_online(self) -> bool:
        """Whether its agent was fine-tuned online."""
        return bool(self.config.get("online"))

    @property
    def is_pretraining(self) -> bool:
        """Whether a sweep trained it only for fine-tunings to start from, whose evaluations before it are its own."""
        return "/pretrained/" in str(self.config.get("name"))

    @property
    def own_names(self) -> tuple[str, str] | None:
        """Dataset and method as its sweep calls them; None outside a sweep."""
        match = _OF_A_SWEEP.fullmatch(str(self.config.get("name") or ""))
        return (match["dataset"], match["method"]) if match else None

    @property
    def data_id(self) -> str:
        return str((self.config.get("data") or {}).get("id"))

    @property
    def seed(self) -> int:
        return int(self.config.get("seed", 0))

    @property
    def experiment(self) -> str:
        return str(self.config.get("experiment", ""))


def find_runs(paths: Sequence[str | Path]) -> list[RunRecord]:
    """Every run below the paths, each once, in the order of their folders, and those a sweep could not start.

    Raises UsageError for a path that is not there or when there is no run below any.
    """
    folders: dict[Path, Path] = {}
    records: list[RunRecord] = []
    for path in map(Path, paths):
        if not path.exists():
            raise UsageError(f"there is no {path}: give run or sweep folders, such as runs/hopper")
        top = path if path.is_dir() else path.parent
        for file in sorted(top.rglob("config.yaml")):
            folders.setdefault(file.parent.resolve(), file.parent)
        for file in sorted(top.rglob("results.json")):
            records += _never_started(file)
    found = [record for folder in folders.values() for record in _read_run(folder)]
    if not found:
        raise UsageError(
            f"no run under {', '.join(map(str, paths))}: a run is a folder with a config.yaml (dtag fit, sweep)"
        )
    known = {record.folder.resolve() for record in found}
    return found + [record for record in records if record.folder.resolve() not in known]


def last_step(folder: Path) -> tuple[str, int] | None:
    """(stage, step) that the run's log reached; None without a log. Of the stage "online" environment steps."""
    for stage in ("online", "policy", "critic"):
        files = sorted((folder / "logs" / "csv").glob(f"{stage}*/metrics.csv"), key=lambda file: file.stat().st_mtime)
        if files:
            with files[-1].open(newline="") as file:
                steps = [int(row["step"]) for row in csv.DictReader(file) if (row.get("step") or "").isdigit()]
            if steps:
                return stage, max(steps) + (stage != "online")
    return None


def _read_run(path: Path) -> Iterator[RunRecord]:
    """The run of a folder, and evaluations of it by `dtag validate` that lie beside its checkpoint."""
    folder = RunFolder(path)
    try:
        config = load_config([folder.config])
    except UsageError as error:
        yield RunRecord(path, "fit", "failed", message=f"its config cannot be read: {error}")
        return
    provenance = _json(folder.provenance) or {}
    evaluations = [file for file in sorted(path.glob("*validate.json")) if _json(file)]
    if folder.results.is_file():
        contents = _json(folder.results)
        if contents is None or "rows" not in contents:
            yield RunRecord(path, "fit", "failed", config, provenance, message=f"{folder.results.name} cannot be read")
        else:
            rows_file = folder.rows if folder.rows.is_file() else folder.results
            rows = tuple(contents["rows"])
            kind: Kind = "finetune" if config.get("online") else "fit"
            before = contents.get("before") or {}
            yield RunRecord(path, kind, "done", config, provenance, rows, rows_file, folder.agent, before=before)
    elif folder.critic.is_file() and not (path / "policy").is_dir():
        yield RunRecord(path, "critic", "done", config, provenance)
    elif not evaluations:
        yield _unfinished(path, config, provenance)
    for file in evaluations:
        contents = _json(file) or {}
        own, origin = contents.get("config") or config, contents.get("provenance") or {}
        if not folder.results.is_file():  # a sweep's: it bears its own name
            own = {**own, "name": config.get("name")}
        agent = _checkpoint_of(origin.get("command", "")) or folder.agent
        yield RunRecord(path, "validate", "done", own, origin, tuple(contents.get("rows", ())), file, agent)


def _unfinished(path: Path, config: dict[str, Any], provenance: dict[str, Any]) -> RunRecord:
    log = path / "output.log"
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines()] if log.is_file() else []
    errors = [line.removeprefix("dtag: ") for line in lines[-3:] if line.startswith("dtag: ")]
    kind: Kind = "critic" if "/critics/" in str(config.get("name")) else "finetune" if config.get("online") else "fit"
    if errors and not errors[-1].startswith("stopped"):
        return RunRecord(path, kind, "failed", config, provenance, message=f"{errors[-1]} (its output: {log})")
    reached = last_step(path)
    stage, step = reached or ("", 0)
    section, key = {"critic": ("critic", "n_steps"), "online": ("online", "n_environment_steps")}.get(
        stage, ("train", "n_steps")
    )
    total = (config.get(section) or {}).get(key)
    unit = "environment step" if stage == "online" else f"{stage} step"
    message = f"{unit} {step:,} of {total:,}" if reached and total else "no step logged yet"
    return RunRecord(path, kind, "unfinished", config, provenance, message=message)


def _never_started(results: Path) -> Iterator[RunRecord]:
    """What a sweep's results.json says it did not get to."""
    contents = _json(results) or {}
    for run in contents.get("unfinished", ()) if "sweep" in contents else ():
        folder = results.parent / str(run.get("run"))
        status: Status = "failed" if run.get("status") == "failed" else "not started"
        yield RunRecord(folder, "fit", status, message=str(run.get("error") or run.get("status") or ""))


def _checkpoint_of(command: str) -> Path | None:
    match = re.search(r"--ckpt[ =](\S+)", command)
    return Path(match[1].strip("'\"")) if match else None


def _json(file: Path) -> dict[str, Any] | None:
    """A JSON file's mapping; None when there is none or it cannot be read."""
    try:
        contents = json.loads(file.read_text())
    except (OSError, ValueError):
        return None
    return contents if isinstance(contents, dict) else None
