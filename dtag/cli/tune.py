"""dtag tune"""

from __future__ import annotations

import argparse
import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from dtag.cli.checkpoint_arguments import add_checkpoint, add_trust, beside, refuse_unwritable
from dtag.errors import UsageError

if TYPE_CHECKING:
    from dtag.sweep.tune import TuneResult

EXAMPLES = """Examples:
  dtag tune --ckpt runs/hopper/NAME
  dtag tune --ckpt runs/hopper/NAME --critic runs/hopper/OTHER/critic.ckpt eta=[0.01,0.03] n_steps=[5,20] rule=[none,sm]
  dtag tune --ckpt runs/hopper/NAME --against runs/hopper/NAME/sweep/ag/grid.json"""

# Overrides of these sections change the checkpoint's config, all others what is tuned and how.
OF_THE_AGENT = ("ag.", "context.", "critic.")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EXAMPLES
    add_checkpoint(parser)
    parser.add_argument(
        "--critic", metavar="FILE", help="a critic.ckpt of another seed on the same data, that made no gradient"
    )
    parser.add_argument(
        "--against", metavar="JSON", help="the grid.json of `dtag sweep`: how well would each criterion have chosen?"
    )
    parser.add_argument(
        "--json", metavar="FILE", help="where everything goes; default: tune.json beside the checkpoint"
    )
    add_trust(parser)
    parser.set_defaults(takes_overrides=True)


def run(args: argparse.Namespace) -> int:
    from dtag.config.build import build
    from dtag.report.tune_console import chosen_in_words, ranking_table
    from dtag.sweep.tune import build_criteria, tune
    from dtag.training.atomic_file import write_text_atomically
    from dtag.training.run_folder import provenance

    refuse_unwritable(args.json)
    of_agent = [word for word in args.overrides if word.startswith(OF_THE_AGENT)]
    config = _config([word for word in args.overrides if word not in of_agent])
    online = Path(args.against) if args.against else None
    if online is not None and not online.is_file():
        raise UsageError(
            f"there is no {online}: make it with `dtag sweep --config conf/sweep/ag.yaml --ckpt {args.ckpt}`"
        )
    console = Console()
    with console.status("reading the checkpoint") as status:
        result = tune(
            args.ckpt,
            build(config["tune"]),
            build_criteria(config["criteria"]),
            overrides=of_agent,
            critic=args.critic,
            trust=args.trust,
            on_stage=lambda stage: status.update(stage),
        )
    path = Path(args.json) if args.json else beside(args.ckpt, "tune")
    console.print(ranking_table(result, f"{args.ckpt} · {result.dataset}"))
    console.print(result.data, highlight=False, style="" if result.held_out else "yellow")
    console.print(chosen_in_words(result, config["tune"]["choose"], _use(args, of_agent, result)), highlight=False)
    contents = {"provenance": provenance(), **config, **_contents(result)}
    if online is not None:
        contents["against"] = _against(result, online, config["tune"]["seed"], path, console)
    write_text_atomically(json.dumps(contents, indent=1) + "\n", path)
    console.print(f"rows:   {path}", highlight=False, soft_wrap=True)
    return 0


def _config(overrides: list[str]) -> dict[str, Any]:
    """The checked `tune` and `criteria` sections; eta=[0.1] stands for tune.eta=[0.1]."""
    from dtag.config.load import load_config
    from dtag.config.schema import Component, Components, Schema, check
    from dtag.sweep.selection.tuning import CRITERIA

    words = [word if word.startswith("criteria.") else f"tune.{word}" for word in overrides]
    schema: Schema = {"tune": Component("dtag.sweep.selection.tuning.Tuning", optional=False), "criteria": Components()}
    return check(load_config([], words, {"criteria": CRITERIA}), schema)


def _contents(result: TuneResult) -> dict[str, Any]:
    """Plain values for JSON."""
    return {
        "data": result.data,
        "held_out": result.held_out,
        "cells": [_setting(cell) for cell in result.cells],
        "criteria": {name: {"unit": own.unit, "rows": own.rows()} for name, own in result.rankings.items()},
        "chosen": _setting(result.chosen),
    }


def _setting(cell: Any) -> dict[str, Any]:
    return {"rule": cell.rule, "eta": cell.eta, "n_steps": cell.n_steps, "context": cell.context}


def _use(args: argparse.Namespace, of_agent: list[str], result: TuneResult) -> str:
    """The command that scores the chosen cell."""
    cell, kept = result.chosen, [w for w in of_agent if not w.startswith(("ag.eta=", "ag.n_steps=", "ag.rule="))]
    words = [f"ag.eta={cell.eta:g}", f"ag.n_steps={cell.n_steps}", f"ag.rule={cell.rule}"]
    own = words if cell.n_steps else ["ag.n_steps=0"]
    return shlex.join(["dtag", "validate", "--ckpt", args.ckpt, *kept, *own])


def _against(result: TuneResult, grid: Path, seed: int, path: Path, console: Console) -> dict[str, Any]:
    from dtag.report.tune_console import against_table
    from dtag.report.tune_figure import draw_against
    from dtag.sweep.selection.against import compare, read_online

    online = read_online(grid, result.cells)
    criteria, references = compare(result.rankings, online, own=result.own, seed=seed)
    console.print(against_table(result, online, criteria, references))
    figure = path.with_name(f"{path.stem}.against.png")
    draw_against(result, online, criteria, figure)
    console.print(f"figure: {figure}", highlight=False, soft_wrap=True)
    means = dict(zip(online.cells, online.means.tolist(), strict=True))
    return {
        "grid": str(grid),
        "kind": online.kind,
        "n_episodes": len(online.scores),
        "online": [means.get(i) for i in range(len(result.cells))],
        "criteria": criteria,
        "references": references,
    }
