"""A run's folder: runs/<experiment>/<name>/ with config, provenance, logs, rows and checkpoints."""

from __future__ import annotations

import itertools
import json
import os
import shlex
import sys
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dtag.config.load import to_yaml
from dtag.errors import UsageError
from dtag.training.atomic_file import write_text_atomically
from dtag.training.checkpoint import versions

# Lightning starts further ranks by running the command again; they must find the folders that rank 0 makes.
_BEGAN = "DTAG_BEGAN"
_n_runs: Counter[str] = Counter()  # without a name, in this process, by what they are called after


class RunFolder:
    """Paths inside one run's folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.yaml"
        self.provenance = path / "provenance.json"
        self.logs = path / "logs"
        self.rows = path / "episodes.jsonl"
        self.critic = path / "critic.ckpt"
        self.agent = path / "agent.ckpt"
        self.start = path / "start.ckpt"  # what fine-tuning began with
        self.results = path / "results.json"

    def last(self, stage: str) -> Path:
        """Lightning's checkpoint that --resume continues from."""
        return self.path / stage / "last.ckpt"

    def best(self, stage: str) -> Path:
        """Lightning's checkpoint of the evaluation with the highest `train.monitor`."""
        return self.path / stage / "best.ckpt"

    def finished(self) -> dict[str, Any] | None:
        """What results.json holds, the last thing that a run writes; None while there is something left to do."""
        if not (self.results.is_file() and self.agent.is_file()):
            return None
        try:
            found: dict[str, Any] = json.loads(self.results.read_text())
        except ValueError:
            return None  # not written by dtag, which writes it whole: made again
        return found


def refuse_place(config: dict[str, Any], key: str = "") -> None:
    """Raises UsageError, before anything is loaded, where `create_run_folder` could not make the run's folder."""
    for word in ("experiment", "name"):
        parts = Path(config[word] or "").parts
        if ".." in parts or Path(config[word] or "").is_absolute():
            raise UsageError(f"{word}={config[word]} leads out of the output folder: set output= for another place")
    if config["name"] and is_first_rank():
        _refuse_taken(RunFolder(Path(config["output"]) / config["experiment"] / config["name"] / key))
    place = next(path for path in (Path(config["output"]).absolute(), *Path(config["output"]).absolute().parents)
                 if path.exists())  # fmt: skip
    if not place.is_dir() or not os.access(place, os.W_OK):
        why = "is no folder" if not place.is_dir() else "may not be written to"
        raise UsageError(f"output={config['output']}: {place} {why}")


def create_run_folder(config: dict[str, Any], key: str = "") -> RunFolder:
    """Make the folder of a new run and write config and provenance into it.

    key: tells apart the runs of one command (its seed). Raises UsageError when the named folder already holds a run, or
    cannot be made. Unnamed runs that begin in the same second have folders of their own.
    """
    parent, name = Path(config["output"]) / config["experiment"], config["name"] or new_name()
    folder = RunFolder(parent / name / key)
    if is_first_rank():
        try:
            if config["name"] or _job_name() is not None or "LOCAL_RANK" in os.environ:  # all ranks have agreed on it
                _refuse_taken(folder)
            else:
                os.environ[_BEGAN] = name = _made(parent, name)  # where the ranks that Lightning launches look for it
                folder = RunFolder(parent / name / key)
            folder.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"output={config['output']}: {folder.path} cannot be made: {error.strerror}") from error
        write_text_atomically(to_yaml(config), folder.config)
        write_text_atomically(json.dumps(provenance(), indent=2) + "\n", folder.provenance)
    return folder


def _made(parent: Path, name: str) -> str:
    """The name, with a number where another process has made that folder first, of a folder that is now there."""
    for number in itertools.count(1):
        own = name if number == 1 else f"{name}-{number}"
        try:
            (parent / own).mkdir(parents=True)
        except FileExistsError:
            continue
        break
    return own


def _refuse_taken(folder: RunFolder) -> None:
    if folder.config.exists():
        raise UsageError(
            f"{folder.path} already holds a run: continue it with --resume {shlex.quote(str(folder.path))}, or choose "
            "another name="
        )


def new_name() -> str:
    """A name for a run that is given none: the job's or the time, the same on every rank, and each time another."""
    name = _job_name()
    if name is None:
        if (
            "LOCAL_RANK" not in os.environ or _BEGAN not in os.environ
        ):  # not a launched rank, nor one that launched others
            os.environ[_BEGAN] = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
        name = os.environ[_BEGAN]
    _n_runs[name] += 1
    return name if _n_runs[name] == 1 else f"{name}-{_n_runs[name]}"


def provenance() -> dict[str, Any]:
    """Command, versions, commit and time: what a number in the run's results hangs on."""
    command = shlex.join(["dtag", *sys.argv[1:]]) if sys.argv else ""
    return {
        "command": command,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        **versions(),
    }


def is_first_rank() -> bool:
    """Whether this process is the one that prints and writes; true before any launch."""
    return all(int(os.environ.get(name, "0")) == 0 for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID"))


def _job_name() -> str | None:
    """A name that all ranks of a torchrun or SLURM job agree on."""
    for variable in ("TORCHELASTIC_RUN_ID", "SLURM_JOB_ID"):
        value = os.environ.get(variable)
        if value and value != "none":
            return f"job-{value}"
    return None
