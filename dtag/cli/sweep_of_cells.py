"""dtag sweep, of a grid over trained checkpoints."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from dtag.config.build import build
from dtag.config.load import load_config
from dtag.config.schema import Component, check
from dtag.errors import UsageError
from dtag.report.grid_console import GridDisplay
from dtag.report.grid_figure import draw_grid
from dtag.report.grid_tables import table_4, tables
from dtag.report.text_table import TextTable
from dtag.rollout.row_settings import RowSettings
from dtag.sweep.folder_lock import locked
from dtag.sweep.grid import Grid, n_distinct
from dtag.sweep.grid_results import GridResult, pool, summarize, to_json
from dtag.sweep.grid_rows import GridRows, write_csv
from dtag.sweep.grid_runner import GridRunner, make_tasks, steps_per_second
from dtag.sweep.grid_subject import Subject, find_checkpoints
from dtag.sweep.machine import n_cores
from dtag.training.atomic_file import write_text_atomically
from dtag.training.chosen_device import chosen_device
from dtag.training.estimate import in_words as duration_in_words
from dtag.training.run_folder import is_first_rank, provenance
from dtag.training.signals import StopFlag, Stopped

# Overrides of these sections change the checkpoints' configs, all others the grid's.
OF_THE_AGENT = ("ag.", "context.", "critic.", "eval.", "train.")


def sweep_cells(
    config: str,
    overrides: Sequence[str],
    checkpoints: Sequence[str],
    trust: bool,
    console: Console,
    *,
    dry_run: bool = False,
) -> int:
    """Score what is missing of a grid over checkpoints, and show all of it.

    dry_run: say what there is to do and about how long it takes instead; nothing is written. Raises UsageError for
    mistakes or episodes of another setup on disk, Stopped after a signal.
    """
    if not is_first_rank():
        return 0  # processes of its own share the work, not Lightning's ranks
    grid, settings = read_grid(config, overrides)
    asked = [*checkpoints, *grid.checkpoints]
    if dry_run and not asked and newest_agent() is None:
        raise UsageError("there is no agent.ckpt below runs to plan for: give --ckpt FILE, or run without --dry-run, "
                         "which fits the demo's first")  # fmt: skip
    files = find_checkpoints(asked) if asked else [newest_agent() or fit_first(console)]
    of_agent = tuple(word for word in overrides if word.startswith(OF_THE_AGENT))
    subjects = [Subject(file, (*grid.overrides, *of_agent), trust) for file in files]
    if len({subject.folder for subject in subjects}) < len(subjects):
        raise UsageError("two of the checkpoints lie in one folder, where their grids would be one: move one of them")
    defaults = [subject.check() for subject in subjects]
    devices = {chosen_device(build(subject.config["train"])) for subject in subjects}
    if len(devices) > 1:
        raise UsageError(f"the checkpoints' configs ask for several devices ({', '.join(sorted(devices))}): "
                         "give train.accelerator=cpu or another one for all")  # fmt: skip
    device = devices.pop()
    folders = [subject.folder / "sweep" / grid.experiment for subject in subjects]
    if dry_run:
        _show_plan(grid, subjects, defaults, folders, device, console)
        return 0
    with ExitStack() as stack:
        for folder in folders:
            stack.enter_context(locked(folder))
        stores = [GridRows(folder / "rows.jsonl", subject.identity(device))
                  for folder, subject in zip(folders, subjects, strict=True)]  # fmt: skip
        _run(grid, subjects, defaults, stores, device, console)
        results = [summarize(grid, default, store) for default, store in zip(defaults, stores, strict=True)]
        for subject, result, store, folder in zip(subjects, results, stores, folders, strict=True):
            _report_one(subject, result, store, folder, settings, console if len(subjects) == 1 else None)
    if len(subjects) > 1:
        _report_all(grid, subjects, results, settings, console)
    return 0


def read_grid(config: str, overrides: Sequence[str]) -> tuple[Grid, dict[str, Any]]:
    """The checked grid of a YAML and overrides of its keys, and its settings in plain containers."""
    schema = {"grid": Component("dtag.sweep.grid.Grid", optional=False)}
    of_grid = [word for word in overrides if not word.startswith(OF_THE_AGENT)]
    settings = check({"grid": load_config([config], of_grid)}, schema)["grid"]
    return build(settings), settings


def newest_agent(output: str = "runs") -> Path | None:
    """The most recent agent.ckpt below `output`; None without any."""
    found = sorted(Path(output).glob("**/agent.ckpt"), key=lambda path: path.stat().st_mtime)
    return found[-1] if found else None


def fit_first(console: Console) -> Path:
    """The demo's agent, trained here for want of another."""
    from dtag.cli.demo import CONFIG, make_data
    from dtag.training.experiment import resolve
    from dtag.training.fit import fit

    console.print(f"no --ckpt, and no agent.ckpt below runs: first {CONFIG}, the maze of `dtag demo`, is fitted; minutes,"
                  " its own estimate follows. Another: dtag sweep --ckpt FILE", highlight=False)  # fmt: skip
    config = resolve([CONFIG], [])
    make_data(config["data"]["id"], console)
    result = fit(config, report=lambda line: console.print(f"[dim]·[/dim] {line}", highlight=False))
    assert result.agent is not None
    return Path(result.agent)


def _show_plan(
    grid: Grid,
    subjects: Sequence[Subject],
    defaults: Sequence[RowSettings],
    folders: Sequence[Path],
    device: str,
    console: Console,
) -> None:
    """What there is to do, and the time it takes were every episode to last to its limit."""
    jobs = (grid.jobs or n_cores()) if device == "cpu" else 1
    missing, seconds = [], 0.0
    for subject, default, folder in zip(subjects, defaults, folders, strict=True):
        left = GridRows(folder / "rows.jsonl", subject.identity(device)).missing(grid.computations(default), grid.seeds)
        missing.append(left)
        if left:
            limit = subject.spec.info.max_episode_steps or subject.spec.max_timestep + 1
            rate = steps_per_second(subject, left, device=device)
            seconds += len(left) * (subject.settings.max_episode_steps or limit) / rate
    rows = max(subject.settings.rows for subject in subjects)
    jobs = min(jobs, len(make_tasks(missing, jobs, rows)))
    for line in _plan_in_words(grid, subjects, defaults, missing, jobs):
        console.print(line, highlight=False, soft_wrap=True)
    if seconds:
        console.print(f"about {duration_in_words(seconds / jobs)}, timed by the first steps of some episodes, as if none"
                      " ended early", highlight=False, soft_wrap=True)  # fmt: skip


def _run(
    grid: Grid,
    subjects: Sequence[Subject],
    defaults: Sequence[RowSettings],
    stores: Sequence[GridRows],
    device: str,
    console: Console,
) -> None:
    """Run the episodes that the stores miss."""
    cells = [grid.computations(default) for default in defaults]
    missing = [store.missing(own, grid.seeds) for store, own in zip(stores, cells, strict=True)]
    jobs = (grid.jobs or n_cores()) if device == "cpu" else 1
    rows = max(subject.settings.rows for subject in subjects)
    tasks = make_tasks(missing, jobs, rows)
    jobs = min(jobs, len(tasks))
    for line in _plan_in_words(grid, subjects, defaults, missing, jobs):
        console.print(line, highlight=False, soft_wrap=True)
    names = ["" if len(subjects) == 1 else str(subject.folder) for subject in subjects]
    length = max((subject.spec.info.max_episode_steps or 0 for subject in subjects), default=0)
    workers = max(subject.settings.workers for subject in subjects)
    with ExitStack() as stack:
        for store in stores:
            stack.enter_context(store)
        display = GridDisplay(console, stores, cells, grid.seeds, names=names, usual_length=length or None, jobs=jobs)
        slots = min(rows, max((len(task.episodes) for task in tasks), default=1))
        runner = GridRunner(subjects, tasks, display, jobs=jobs, n_slots=slots, n_workers=workers, device=device)
        with StopFlag() as flag, display:
            finished = runner.run(flag)
        if not finished:
            again = shlex.join(["dtag", *sys.argv[1:]])
            raise Stopped(
                f"stopped with {display.n_done} of {len(display.n_left)} cells done, all episodes that ended kept; "
                f"continue with: {again}", flag.exit_status or 143,
            )  # fmt: skip
        if tasks:
            console.print(display.in_words(), highlight=False)


def _plan_in_words(
    grid: Grid,
    subjects: Sequence[Subject],
    defaults: Sequence[RowSettings],
    missing: Sequence[Sequence[Any]],
    jobs: int,
) -> Iterator[str]:
    """What is about to happen."""
    for subject in subjects:
        yield f"{subject.checkpoint} · {subject.spec.info.id}"
    cells = grid.cells(defaults[0].context)
    n_all = len(grid.computations(defaults[0]))
    yield (
        f"{len(cells)} cells, {n_distinct(cells)} of them distinct; with AG off and the checkpoint's own setting "
        f"{n_all} to run, {grid.episodes} episodes each, the same seeds in all"
    )
    left, total = sum(map(len, missing)), sum(len(grid.computations(default)) for default in defaults) * grid.episodes
    earlier = f", {total - left} of {total} finished earlier" if left < total else ""
    yield f"{left} episodes to run{earlier}" + (f", {jobs} process{'es' if jobs > 1 else ''}" if left else "")


def _report_one(
    subject: Subject,
    result: GridResult,
    store: GridRows,
    folder: Path,
    settings: dict[str, Any],
    console: Console | None,
) -> None:
    """A checkpoint's files and, with a console, its tables."""
    title = f"{subject.checkpoint} · {subject.spec.info.id}"
    shown = tables(result, subject.reference, title)
    if len(set(result.grid.rule)) > 1:
        shown.append(table_4({subject.spec.info.id: [result]}))
    rows = [row for cell in result.results for row in store.of(cell, result.grid.seeds) or []]
    write_csv(rows, folder / "rows.csv")
    contents = {
        "provenance": provenance(),
        "grid": settings,
        "identity": store.identity,
        **to_json(result),
        "rows": rows,
    }
    figures = draw_grid({title: result}, folder)
    _write_summary(folder, contents, shown, figures)
    if console is not None:
        _print(shown, folder, console)


def _report_all(
    grid: Grid, subjects: Sequence[Subject], results: Sequence[GridResult], settings: dict[str, Any], console: Console
) -> None:
    """The joint files of several checkpoints, pooled by data and own setting, and their tables."""
    groups: dict[tuple[str, RowSettings, str], list[int]] = {}
    for index, (subject, result) in enumerate(zip(subjects, results, strict=True)):
        groups.setdefault((subject.spec.info.id, result.default, result.quantity), []).append(index)
    names = [key[0] for key in groups]
    titles = {
        key: key[0] if names.count(key[0]) == 1 else f"{key[0]} ({subjects[members[0]].folder.name})"
        for key, members in groups.items()
    }
    pooled = {titles[key]: pool([results[i] for i in members]) for key, members in groups.items()}
    shown: list[TextTable] = []
    for key, members in groups.items():
        reference = subjects[members[0]].reference
        count = f" · mean of {len(members)} checkpoints" if len(members) > 1 else ""
        own = tables(pooled[titles[key]], reference, f"{titles[key]}{count}")
        shown += [replace(table, title=f"{titles[key]} · {table.title}") for table in own[:-1]] + own[-1:]
    shown.append(table_4({titles[key]: [results[i] for i in members] for key, members in groups.items()}))
    folder = _joint_folder([subject.folder for subject in subjects]) / "sweep" / grid.experiment
    contents = {
        "provenance": provenance(),
        "grid": settings,
        "checkpoints": [str(subject.checkpoint) for subject in subjects],
        "pooled": {title: to_json(result) for title, result in pooled.items()},
    }
    _write_summary(folder, contents, shown, draw_grid(pooled, folder))
    _print(shown, folder, console)
    console.print("each checkpoint's own tables and episodes: sweep/ beside it", highlight=False)


def _joint_folder(folders: Sequence[Path]) -> Path:
    """The deepest folder around all; runs/ where they have none but the root."""
    common = Path(os.path.commonpath([folder.resolve() for folder in folders]))
    if common == Path(common.anchor):
        return Path("runs")
    return Path(os.path.relpath(common)) if common.is_relative_to(Path.cwd()) else common


def _write_summary(folder: Path, contents: dict[str, Any], shown: Sequence[TextTable], figures: Sequence[Path]) -> None:
    write_text_atomically(json.dumps(contents, indent=1) + "\n", folder / "grid.json")
    pictures = [f"![{path.stem}]({path.name})" for path in figures if path.suffix == ".png"]
    command = f"`{contents['provenance']['command']}`, commit {contents['provenance'].get('commit') or 'unknown'}"
    text = "\n".join([*(table.for_markdown() for table in shown), "\n\n".join(pictures), "", command, ""])
    write_text_atomically(text, folder / "grid.md")


def _print(shown: Sequence[TextTable], folder: Path, console: Console) -> None:
    for table in shown:
        table.print_on(console)
    console.print(f"files: {folder}/ rows.jsonl, rows.csv, grid.json, grid.md, figure3.png, heatmap.png (and .svg)",
                  highlight=False, soft_wrap=True)  # fmt: skip
