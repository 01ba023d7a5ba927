"""dtag validate"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from dtag.cli.checkpoint_arguments import add_checkpoint, add_trust, beside, keep_earlier, refuse_unwritable

if TYPE_CHECKING:
    from dtag.training.validate import ValidateResult
    from dtag.training.validate_offline import OfflineResult


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "Example:\n  dtag validate --ckpt runs/hopper/NAME ag.n_steps=20 eval.episodes=100"
    parser.epilog += "\n  dtag validate --ckpt runs/hopper/NAME eval.environment=null   # on held-out data"
    add_checkpoint(parser)
    parser.add_argument("--json", metavar="FILE", help="where summary and rows go; default: beside the checkpoint")
    add_trust(parser)
    parser.set_defaults(takes_overrides=True)


def run(args: argparse.Namespace) -> int:
    from dtag.data.reference_scores import reference_as_evaluated
    from dtag.report.console import refinement_in_words, score_table
    from dtag.training.atomic_file import write_text_atomically
    from dtag.training.run_folder import is_first_rank, provenance
    from dtag.training.validate import validate

    refuse_unwritable(args.json)
    first = is_first_rank()
    console = Console(quiet=not first)
    with episode_progress(console) as progress:
        task = progress.add_task("episodes", total=None, steps="")
        result = validate(
            args.ckpt,
            args.overrides,
            trust=args.trust,
            on_step=lambda steps, finished: progress.update(task, completed=finished, steps=f"{steps:,} steps"),
        )
    if not first:
        return 0
    if result.offline is not None:
        return _report_offline(args, result, result.offline, console)
    info = result.spec.info
    reference = reference_as_evaluated(info, result.config["eval"])
    console.print(score_table(result.summary, reference, f"{args.ckpt} · {info.id}"))
    if result.config["ag"] is not None and "AG on" in result.summary:
        console.print(refinement_in_words(result.config, result.action_gradient_rms), highlight=False)
    path = _rows_file(args, "validate", result.config)
    contents = {"provenance": provenance(), "config": result.config, "summary": result.summary, "rows": result.rows}
    write_text_atomically(json.dumps(contents, indent=1) + "\n", path)
    console.print(f"rows: {path}", highlight=False, soft_wrap=True)
    return 0


def _rows_file(args: argparse.Namespace, kind: str, config: dict[str, Any]) -> Path:
    """Where the rows go; beside the checkpoint, what was made there with another config keeps its place by another name."""
    if args.json:
        return Path(args.json)
    path = beside(args.ckpt, kind)
    keep_earlier(path, config)
    return path


def _report_offline(args: argparse.Namespace, result: ValidateResult, offline: OfflineResult, console: Console) -> int:
    from dtag.report.console import refinement_in_words
    from dtag.report.offline_console import offline_tables
    from dtag.training.atomic_file import write_text_atomically
    from dtag.training.run_folder import provenance

    console.print(
        f"no environment: compared with {offline.data}",
        highlight=False,
        style="" if offline.held_out else "yellow",
    )
    report, maximum = offline.report, result.config["context"]["maximum"]
    title = f"{args.ckpt} · {result.spec.info.id}"
    console.print(offline_tables(report.estimates, report.deciles, title, q=offline.q, maximum=maximum))
    if "q_refined" in report.estimates:
        console.print(refinement_in_words(result.config, result.action_gradient_rms), highlight=False)
    path = _rows_file(args, "offline", result.config)
    contents = {
        "provenance": provenance(),
        "config": result.config,
        "data": offline.data,
        "held_out": offline.held_out,
        **asdict(report),
    }
    write_text_atomically(json.dumps(contents, indent=1) + "\n", path)
    console.print(f"rows: {path}", highlight=False, soft_wrap=True)
    return 0


def episode_progress(console: Console) -> Progress:
    """A bar of finished episodes with the environment steps beside it."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[steps]}"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    )
