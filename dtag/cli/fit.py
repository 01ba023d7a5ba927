"""dtag fit"""

from __future__ import annotations

import argparse
import shlex
from typing import Any

from rich.console import Console

from dtag.errors import UsageError

EXAMPLES = """Examples:
  dtag fit --config conf/hopper.yaml ag.eta=0.01 --preset small
  dtag fit --resume runs/hopper/NAME"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EXAMPLES
    parser.add_argument(
        "--config", action="append", metavar="YAML", help="a file, or a shipped config; may be repeated, later ones win"
    )
    parser.add_argument("--preset", metavar="NAME", help="conf/presets/NAME.yaml merged over the config: small")
    parser.add_argument("--seeds", metavar="A..B", help="one run a seed: 0..4, or 0,2,7")
    parser.add_argument("--resume", metavar="RUN", help="continue the run in this folder")
    parser.add_argument(
        "--stage", choices=("all", "critic", "policy"), default=None, help="also as stage=critic; default all"
    )
    parser.set_defaults(takes_overrides=True)


def run(args: argparse.Namespace) -> int:
    from dtag.report.console import print_summary
    from dtag.training.experiment import resolve
    from dtag.training.fit import fit
    from dtag.training.run_folder import is_first_rank, new_name, refuse_place
    from dtag.training.signals import Stopped

    console = Console(quiet=not is_first_rank())
    stage, overrides = _stage(args)
    if args.resume is not None:
        if args.config or overrides or args.preset or args.seeds:
            raise UsageError(
                "--resume continues a run with its own config: give no --config, --preset, --seeds or overrides with it"
            )
        return _resume(args.resume, stage, console)
    if not args.config:
        raise UsageError("dtag fit needs --config, e.g. --config conf/hopper.yaml (or --resume RUN)")
    config = resolve(args.config, overrides, args.preset)
    if args.seeds and config["name"] is None:
        config = {**config, "name": new_name()}  # one folder for all of them
    seeds = _seeds(args.seeds, config["seed"])
    for seed in seeds if args.seeds else ():
        refuse_place(config, f"seed-{seed}")  # before the first is trained
    for index, seed in enumerate(seeds):
        own = {**config, "seed": seed}
        try:
            result = fit(own, stage=stage, key=f"seed-{seed}" if args.seeds else "", report=_reporter(console))
        except Stopped as stopped:
            left = ",".join(map(str, seeds[index + 1 :]))
            if not left:
                raise
            words = ["dtag", "fit", *(word for path in args.config for word in ("--config", path)), *args.overrides]
            words += ["--preset", args.preset] if args.preset else []
            again = shlex.join([*words, "--seeds", left, *([] if args.stage is None else ["--stage", args.stage])])
            again += "" if any(word.startswith("name=") for word in args.overrides) else f" name={config['name']}"
            raise Stopped(f"{stopped}\nand begin the seeds that are left with: {again}", stopped.exit_status) from None
        if is_first_rank():  # another rank may be here before the first has written the agent
            print_summary(result, own, console)
    return 0


def _resume(folder: str, stage: Any, console: Console) -> int:
    from pathlib import Path

    from dtag.report.console import print_summary
    from dtag.training.fit import fit, read_run_config
    from dtag.training.run_folder import RunFolder, is_first_rank

    seeds = sorted(Path(folder).glob("seed-*"))
    for path in seeds or [Path(folder)]:
        run_folder = RunFolder(path)
        config = read_run_config(run_folder)
        result = fit(config, stage=stage, resume=path, report=_reporter(console))
        if is_first_rank():
            print_summary(result, config, console)
    return 0


def _stage(args: argparse.Namespace) -> tuple[Any, list[str]]:
    """The stage from --stage or stage=..., and the other overrides."""
    written = [word.partition("=")[2] for word in args.overrides if word.startswith("stage=")]
    stage = args.stage or (written[-1] if written else "all")
    if stage not in ("all", "critic", "policy"):
        raise UsageError(f"stage={stage} is not one of all, critic, policy")
    return stage, [word for word in args.overrides if not word.startswith("stage=")]


def _seeds(text: str | None, default: int) -> list[int]:
    """ "0..4" -> 0, 1, 2, 3, 4; "0,2,7" -> those."""
    if text is None:
        return [default]
    try:
        first, dots, last = text.partition("..")
        seeds = list(range(int(first), int(last) + 1)) if dots else [int(part) for part in text.split(",")]
    except ValueError:
        seeds = []
    if not seeds or len(set(seeds)) < len(seeds):
        raise UsageError(f"--seeds {text!r} is neither a range like 0..4 nor a list like 0,2,7")
    return seeds


def _reporter(console: Console) -> Any:
    return lambda line: console.print(f"[dim]·[/dim] {line}", highlight=False)
