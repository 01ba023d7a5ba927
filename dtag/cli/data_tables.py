"""How `dtag data` shows datasets on a terminal."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from dtag.data.catalog import GENERATED, MINARI_IDS, generated_id
from dtag.data.d4rl_catalog import d4rl_sources
from dtag.data.local_datasets import LocalDataset, is_local

if TYPE_CHECKING:
    from dtag.data.dataset import Dataset
    from dtag.data.describe import Summary

_SHOWN_ACTION_DIMS = 8


def print_wide(*renderables: Any) -> None:
    """Print to standard output; where that is no terminal, unwrapped, so that it can be searched and cut."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=200)
    for renderable in renderables:
        is_text = isinstance(renderable, str)  # a path may hold what looks like markup
        console.print(renderable, soft_wrap=is_text, markup=not is_text, highlight=False)


@contextlib.contextmanager
def working(text: str) -> Iterator[None]:
    """A spinner on standard error while something runs whose length is not known."""
    with Console(stderr=True).status(escape(text)):
        yield


@contextlib.contextmanager
def bar(text: str, unit: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on standard error; yields what to call with (done, total), total 0 while it is not known."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn(f"{{task.completed:,.0f}} {unit}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(escape(text), total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total or None)


def local_table(datasets: Iterable[LocalDataset], root: Path) -> Table:
    table = Table(title=f"On this machine, below {escape(str(root))}", title_justify="left", header_style="bold")
    table.add_column("id", overflow="fold")
    for name in ("episodes", "steps", "MB"):
        table.add_column(name, justify="right")
    table.add_column("environment", overflow="fold")
    rows = [
        (dataset.id, f"{dataset.n_episodes:,}", f"{dataset.n_steps:,}", f"{dataset.n_bytes / 1e6:,.1f}",
         dataset.environment or "-")
        for dataset in datasets
    ]  # fmt: skip
    for row in rows or [("none yet", "", "", "", "")]:
        table.add_row(*row)
    return table


def known_tables() -> list[Table]:
    """What can be made, and what can be fetched where the servers are reached."""
    return [
        _groups("Made here: dtag data make NAME", {name: is_local(generated_id(name)) for name in GENERATED}, "-"),
        _groups(
            "D4RL: dtag data get NAME",
            {name: is_local(source.local_id) for name, source in d4rl_sources().items()},
            "-",
        ),
        _groups("Minari: dtag data get ID (other data than D4RL's)", {id: is_local(id) for id in MINARI_IDS}, "/"),
    ]


def _groups(title: str, names: dict[str, bool], separator: str) -> Table:
    """Names by family, those on this machine marked."""
    table = Table(title=title, title_justify="left", show_header=False)
    families: dict[str, list[str]] = {}
    for name, local in names.items():
        family = name.rpartition(separator)[0] if separator == "/" else name.partition(separator)[0]
        families.setdefault(family, []).append(f"[green]{name} ✓[/green]" if local else name)
    for family, members in families.items():
        table.add_row(f"[bold]{family}[/bold]", "  ".join(members))
    return table


def info_tables(dataset: Dataset, summary: Summary) -> list[Table]:
    return [_facts(dataset, summary), _distributions(summary), _actions(dataset, summary), _provenance(dataset)]


def _facts(dataset: Dataset, summary: Summary) -> Table:
    info, trajectories = dataset.info, dataset.trajectories
    table = _pairs(escape(info.id))
    unfinished = summary.n_episodes - summary.n_complete
    tail = f", {unfinished:,} unfinished ({summary.n_unfinished_steps:,} steps)" if unfinished else ""
    table.add_row("episodes", f"{summary.n_complete:,} complete{tail}")
    table.add_row("steps", f"{summary.n_steps:,}")
    joined = f" (joined: {', '.join(info.observation_keys)})" if info.observation_keys else ""
    table.add_row("state, action dims", f"{trajectories.state_dim}{joined}, {trajectories.action_dim}")
    table.add_row("final states known", f"{summary.n_known_final_states:,} of {summary.n_episodes:,}")
    if summary.n_interior_terminals:
        table.add_row("terminals inside episodes", f"{summary.n_interior_terminals:,} steps; the episodes go on")
    colour = "red" if summary.n_not_finite else "green"
    table.add_row("NaN or infinite values", f"[{colour}]{summary.n_not_finite:,}[/{colour}]")
    if summary.n_actions_outside is None:
        table.add_row("actions", "their bounds are unknown")
    else:
        at_bounds = _share(summary.n_actions_at_bounds or 0, summary)
        table.add_row("actions", f"{_share(summary.n_actions_outside, summary)} outside the bounds, {at_bounds} at one")
    arguments = "".join(f" {key}={value}" for key, value in info.environment_kwargs.items())
    limit = f", {info.max_episode_steps} steps at most" if info.max_episode_steps else ""
    table.add_row("evaluate on", escape(f"{info.environment or 'no environment known'}{arguments}{limit}"))
    if info.reference:
        reference = info.reference
        table.add_row("reference", f"0 = {reference.minimum:,.6g}, 100 = {reference.maximum:,.6g} ({reference.label})")
        if summary.normalized_mean is not None:
            table.add_row("mean normalised score", f"[bold]{summary.normalized_mean:.1f}[/bold] ({reference.label})")
    return table


def _distributions(summary: Summary) -> Table:
    table = Table(title="Complete episodes", title_justify="left", header_style="bold")
    table.add_column("")
    for name in summary.returns or {"none": 0.0}:
        table.add_column(name, justify="right")
    if not summary.returns:
        table.add_row("no episode ends", "")
        return table
    table.add_row("return", *(f"{value:,.2f}" for value in summary.returns.values()))
    table.add_row("length", *(f"{value:,.1f}".removesuffix(".0") for value in summary.lengths.values()))
    return table


def _actions(dataset: Dataset, summary: Summary) -> Table:
    dims = range(min(len(summary.action_low), _SHOWN_ACTION_DIMS))
    title = "Actions" if len(dims) == len(summary.action_low) else f"Actions, first {len(dims)} dims"
    table = Table(title=title, title_justify="left", header_style="bold")
    table.add_column("dim")
    for dim in dims:
        table.add_column(str(dim), justify="right")
    rows = {"lowest seen": summary.action_low, "highest seen": summary.action_high}
    if dataset.info.action_low:
        rows |= {"lower bound": dataset.info.action_low, "upper bound": dataset.info.action_high}
    for name, values in rows.items():
        table.add_row(name, *(f"{values[dim]:.6g}" for dim in dims))
    return table


def _share(count: int, summary: Summary) -> str:
    return f"{count:,} steps ({100 * count / summary.n_steps:.1f} %)"


def _provenance(dataset: Dataset) -> Table:
    table = _pairs("Provenance")
    for key, value in dataset.info.provenance.items():
        table.add_row(escape(key), escape(str(value)))
    return table


def _pairs(title: str) -> Table:
    table = Table(title=title, title_justify="left", show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    return table
