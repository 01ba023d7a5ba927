"""dtag sweep --dry-run, of many runs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

from rich.console import Console

from dtag.cli.sweep_of_runs import counted
from dtag.report.plan_console import plan_table, seconds_to_do
from dtag.sweep.data_at_hand import missing_data
from dtag.sweep.forecast import Estimate, forecast, makespan
from dtag.sweep.job import Job, refuse_other_configs
from dtag.sweep.plan import plan
from dtag.sweep.sweep_file import Sweep, read_sweep
from dtag.training.estimate import in_words


def show_plan(config: str, overrides: list[str], console: Console) -> int:
    """Print a sweep's jobs and what they will cost; nothing of it is written, started or fetched.

    Raises UsageError for mistakes or runs of another config.
    """
    sweep = read_sweep(config, overrides)
    jobs = plan(sweep)
    refuse_other_configs(jobs)
    local = sweep.settings["executor"] == "local"
    with console.status("timing each kind of run's first steps") as status:
        estimates = forecast(
            jobs,
            sweep.n_workers if local else 1,
            threads=sweep.needs.cpus,
            measured=lambda n, of: status.update(f"timing each kind of run's first steps: {n} of {of} done"),
        )
    left = [job for job in jobs if not job.is_finished]
    failed = _failed_before(sweep, left)
    console.print(f"{sweep.folder}: {counted(jobs)}; seed by seed, in this order", highlight=False, soft_wrap=True)
    console.print(plan_table(jobs, failed, estimates))
    n_workers = sweep.n_workers if local else int(sweep.settings["jobs"])
    seconds = seconds_to_do(jobs, estimates)
    unknown = [job for job in left if estimates[job.name].problem]
    least = "at least " if unknown else ""
    lines = [f"to do: {len(left)} runs, {least}{in_words(sum(seconds.values()))} one after another"]
    if n_workers > 1:
        lines[0] += f", {least or 'about '}{in_words(makespan(jobs, seconds, n_workers))} with {n_workers} at once"
    if unknown and len(unknown) == len(left):
        lines = [f"to do: {len(left)} runs; how long they take is not known"]
    lines += [f"{name} failed last time: {error}" for name, error in failed.items()]
    lines += [*_where_times_are_from(left, estimates), *_what_is_missing(left)]
    console.print("\n".join(lines), highlight=False, markup=False, soft_wrap=True)
    return 0


def _where_times_are_from(left: Sequence[Job], estimates: Mapping[str, Estimate]) -> Iterator[str]:
    sources = {estimates[job.name].source for job in left}
    if "measured" in sources:
        yield "times and memory: by each kind's first steps on this machine, were it free; as if no episode ended early"
    if "finished runs" in sources:
        yield "times and memory of kinds of which runs are finished: theirs"
    problems = {job.cell.method: estimates[job.name].problem for job in left if estimates[job.name].problem}
    yield from (f"{method}: its cost is not known: {problem}" for method, problem in problems.items())


def _what_is_missing(left: Sequence[Job]) -> Iterator[str]:
    missing = {part: how for job in left for part, how in missing_data(job.config["data"]["id"]).items()}
    if missing:
        yield f"{len(missing)} datasets are not on this machine; what is to learn from them was timed on other data:"
        yield from (f"  {part}: {how}" for part, how in missing.items())


def _failed_before(sweep: Sweep, left: Sequence[Job]) -> dict[str, str]:
    """By name, why runs failed in the last call; what is finished since is not among them."""
    try:
        unfinished = json.loads((sweep.folder / "results.json").read_text())["unfinished"]
        errors = {run["run"]: run.get("error", "") for run in unfinished if run["status"] == "failed"}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return {job.name: errors[job.name] for job in left if job.name in errors}
