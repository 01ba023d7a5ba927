"""dtag config"""

from __future__ import annotations

import argparse

from rich.console import Console
from rich.padding import Padding
from rich.text import Text


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "Examples:\n  dtag config ag\n  dtag config --config conf/hopper.yaml --preset small ag.eta=0.1 --resolved\n"
        "  dtag config --config conf/sweep/example.yaml"
    )
    parser.add_argument("key", nargs="?", default="", help="a section or key, like ag or ag.eta; default: all")
    parser.add_argument("--config", action="append", metavar="YAML", help="explain with this config's components")
    parser.add_argument("--preset", metavar="NAME", help="merged over the config")
    parser.add_argument("--resolved", action="store_true", help="print the resolved config as YAML instead")
    parser.set_defaults(takes_overrides=True)


def run(args: argparse.Namespace) -> int:
    from dtag.config.explain import explain
    from dtag.config.load import to_yaml
    from dtag.sweep import sweep_file
    from dtag.training.experiment import SCHEMA, resolve

    overrides = list(args.overrides)
    if "=" in args.key:  # the first override looks like the key
        overrides, args.key = [args.key, *overrides], ""
    schema = SCHEMA
    if args.config and len(args.config) == 1 and sweep_file.is_sweep(args.config[0]):
        schema, config = sweep_file.SCHEMA, sweep_file.read_sweep(args.config[0], overrides).settings
    else:
        config = resolve(args.config or ["conf/hopper.yaml"], overrides, args.preset)
    console = Console()
    if args.resolved:
        print(to_yaml(config), end="")
        return 0
    section = ""
    for row in explain(schema, config, args.key):
        begins, section = section != row.key.split(".")[0], row.key.split(".")[0]
        if begins:
            console.print()
        console.print(Text.assemble((row.key, "bold"), f" = {row.default}", (f"   {row.type}", "dim")), soft_wrap=True)
        console.print(Padding(Text(row.help), (0, 0, 0, 4), expand=False))
    return 0
