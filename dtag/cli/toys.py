"""dtag toys"""

from __future__ import annotations

import argparse
from datetime import datetime
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from dtag.errors import UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="seeds of every experiment (default 3)")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="processes, of one thread each (default 2)")
    parser.add_argument("--output", default="runs", metavar="DIR", help="where the folder toys goes (default runs)")


def run(args: argparse.Namespace) -> int:
    import json

    from dtag.toys.jobs import Job, jobs, run_jobs
    from dtag.training.atomic_file import write_text_atomically
    from dtag.training.run_folder import provenance

    if args.seeds < 1 or args.jobs < 1:
        raise UsageError(f"--seeds {args.seeds} and --jobs {args.jobs} must be at least 1")
    console, planned = Console(), jobs(args.seeds)
    folder = Path(args.output) / "toys" / datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("training", total=len(planned))

        def advance(job: Job) -> None:
            name = f"{job.experiment}: {job.kind}, seed {job.seed}"
            progress.update(task, advance=1, description=name)
            if not console.is_terminal:
                console.print(f"[dim]·[/dim] {name}", highlight=False)

        results = run_jobs(planned, folder, args.jobs, advance)

    from dtag.report.toy_console import toy_rows, toy_table
    from dtag.report.toy_figures import draw_chain, draw_parabola, draw_ramp

    rows = toy_rows(results)
    console.print(toy_table(rows, args.seeds))
    keys = ("experiment", "who", "quantity", "values")
    contents = {"provenance": provenance(), "rows": [dict(zip(keys, row, strict=True)) for row in rows]}
    write_text_atomically(json.dumps(contents, indent=1) + "\n", folder / "results.json")
    for name, draw in (("parabola", draw_parabola), ("ramp", draw_ramp), ("chain", draw_chain)):
        path = draw(results[name], folder / f"{name}.png")
        console.print(f"figure: {path}", highlight=False, soft_wrap=True)
    console.print(f"runs:   {folder}", highlight=False, soft_wrap=True)
    return 0
