"""dtag sweep"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from rich.console import Console

from dtag.errors import UsageError

EXAMPLES = """Examples:
  dtag sweep --config conf/sweep/example.yaml seeds=[0,1,2]
  dtag sweep --config conf/sweep/ag.yaml --ckpt runs/demo/NAME/agent.ckpt episodes=100 ag.q=min"""

# Overrides of these sections change the checkpoint's config, all others the grid's.
OF_THE_AGENT = ("ag.", "context.", "critic.", "eval.", "train.")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EXAMPLES
    parser.add_argument(
        "--config",
        default="conf/sweep/ag.yaml",
        metavar="YAML",
        help="runs (methods, datasets, seeds) or a grid (eta, n_steps, rule); default conf/sweep/ag.yaml, a grid",
    )
    parser.add_argument(
        "--ckpt", metavar="FILE", help="the checkpoint a grid scores; default: the newest run's agent.ckpt under runs"
    )
    parser.add_argument(
        "--trust", action="store_true", help="allow a checkpoint that names code other than parts of dtag and torch"
    )
    parser.set_defaults(takes_overrides=True)


def run(args: argparse.Namespace) -> int:
    from dtag.sweep.sweep_file import is_sweep

    if not is_sweep(args.config):
        return _score_grid(args)
    if args.ckpt or args.trust:
        raise UsageError(f"{args.config} plans runs: --ckpt and --trust go with a grid, like conf/sweep/ag.yaml")
    from dtag.cli.sweep_of_runs import sweep_runs

    return sweep_runs(args.config, args.overrides, Console())


def _score_grid(args: argparse.Namespace) -> int:
    from dtag.cli.validate import episode_progress
    from dtag.config.build import build
    from dtag.config.load import load_config
    from dtag.config.schema import Component, check
    from dtag.report.console import refinement_in_words, score_table
    from dtag.report.grid_figure import draw_grid
    from dtag.training.atomic_file import write_text_atomically
    from dtag.training.run_folder import provenance
    from dtag.training.validate import validate

    schema = {"grid": Component("dtag.sweep.grid.Grid", optional=False)}
    of_agent = [word for word in args.overrides if word.startswith(OF_THE_AGENT)]
    of_grid = [word for word in args.overrides if word not in of_agent]
    config = check({"grid": load_config([args.config], of_grid)}, schema)
    grid = build(config["grid"])
    checkpoint = Path(args.ckpt) if args.ckpt else newest_agent()
    console = Console()
    with episode_progress(console) as progress:
        task = progress.add_task("episodes", total=grid.n_episodes, steps="")
        result = validate(
            checkpoint,
            of_agent,
            trust=args.trust,
            plans=grid.plans,
            on_step=lambda steps, finished: progress.update(task, completed=finished, steps=f"{steps:,} steps"),
        )
    console.print(score_table(result.summary, result.spec.info.reference, f"{checkpoint} · {result.spec.info.id}"))
    console.print(refinement_in_words(result.config, result.action_gradient_rms), highlight=False)
    console.print("the best cell is picked on its own test episodes; the default is not", highlight=False)
    folder = (checkpoint if checkpoint.is_dir() else checkpoint.parent) / "sweep" / grid.experiment
    contents: dict[str, Any] = {
        "provenance": provenance(),
        "grid": config["grid"],
        "summary": result.summary,
        "rows": result.rows,
    }
    write_text_atomically(json.dumps(contents, indent=1) + "\n", folder / "grid.json")
    draw_grid(grid, result.summary, folder / "grid.png")
    console.print(f"rows:   {folder / 'grid.json'}\nfigure: {folder / 'grid.png'}", highlight=False, soft_wrap=True)
    return 0


def newest_agent(output: str = "runs") -> Path:
    """The most recent agent.ckpt below `output`."""
    found = sorted(Path(output).glob("**/agent.ckpt"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise UsageError(f"there is no agent.ckpt under {output}: give --ckpt, or make one with `make demo`")
    return found[-1]
