"""dtag methods"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from dtag.config.load import shipped_folder


class Method(NamedTuple):
    """A shipped YAML. title, source: the two halves of its first line, "# title · source"."""

    name: str
    title: str
    source: str
    path: Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "Example:\n  dtag methods\n  dtag fit --config methods/rf_pg data.id=local/hopper/medium-v0 --preset small"
    )


def run(_: argparse.Namespace) -> int:
    table = Table(title="dtag fit --config methods/NAME", title_justify="left", expand=False)
    for column in ("NAME", "what it is", "where it comes from"):
        table.add_column(column, overflow="fold")
    for method in methods():
        table.add_row(method.name, method.title, method.source)
    Console().print(table)
    return 0


def methods() -> list[Method]:
    """The shipped methods, in the order of their names."""
    found = []
    for path in sorted((shipped_folder() / "methods").glob("*.yaml")):
        title, _, source = path.read_text().splitlines()[0].removeprefix("# ").partition(" · ")
        found.append(Method(path.stem, title, source, path))
    return found
