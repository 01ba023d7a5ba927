"""dtag demo"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

CONFIG = "conf/demo.yaml"
DATASET = {"size": "umaze", "reward": "sparse", "n_steps": 60_000, "seed": 0}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(takes_overrides=True)


def run(args: argparse.Namespace) -> int:
    from dtag.training.experiment import resolve
    from dtag.training.fit import fit
    from dtag.training.validate import validate

    console = Console()
    config = resolve([CONFIG], args.overrides)
    dataset = make_data(config["data"]["id"], console)
    result = fit(config, report=lambda line: console.print(f"[dim]·[/dim] {line}", highlight=False))
    console.print("[dim]·[/dim] last: the finished agent once more, keeping its paths for a picture", highlight=False)
    final = validate(result.folder, keep_states=True)
    console.print(comparison(dataset, final.summary))
    console.print(verdict(final.summary), highlight=False)
    figure = draw(final.episodes, final.spec.info.environment_kwargs["size"], result.folder / "paths.png")
    for name, path in (("figure", figure), ("agent", result.agent), ("run", result.folder)):
        console.print(f"{name + ':':8}{path}", highlight=False, soft_wrap=True)
    console.print(f"next:   dtag validate --ckpt {result.agent} ag.eta=0.03", highlight=False, soft_wrap=True)
    return 0


def make_data(id: str, console: Console) -> Any:
    """The demo's dataset: made here the first time, loaded after that."""
    from dtag.data.load import load_dataset
    from dtag.data.local_datasets import is_local

    if not is_local(id):
        from dataclasses import replace

        from dtag.data.minari_store import save
        from dtag.data.pointmaze import make_point_maze_dataset

        with console.status("making a maze dataset: a noisy controller visiting random goals"):
            made = make_point_maze_dataset(**DATASET)  # type: ignore[arg-type]
            save(type(made)(made.trajectories, replace(made.info, id=id)))
    dataset = load_dataset(id)
    console.print(f"[dim]·[/dim] data: {id}, {dataset.trajectories.n_steps:,} steps", highlight=False)
    return dataset


def comparison(dataset: Any, summary: dict[str, Any]) -> Table:
    """Return over one evaluation's length: random, the data, the agent with Action Gradient off and on."""
    info = dataset.info
    table = Table(title="return of 300 steps in the maze: those spent within 0.5 of one goal", title_justify="left")
    for name in ("who acts", "return", "score"):
        table.add_column(name, justify="left" if name == "who acts" else "right")
    per_step = float(dataset.trajectories.rewards.mean())
    span = info.reference.maximum - info.reference.minimum
    data_return = per_step * info.max_episode_steps
    table.add_row("random actions", f"{info.reference.minimum:.1f}", "0.0")
    table.add_row(
        "the data, on average", f"{data_return:.1f}", f"{100 * (data_return - info.reference.minimum) / span:.1f}"
    )
    for label, quantities in summary.items():
        spread = f"{quantities['return']['mean']:.1f} ± {quantities['return']['std']:.1f}"
        table.add_row(
            f"Reinformer, {label}", spread, f"{quantities['score']['mean']:.1f} ± {quantities['score']['std']:.1f}"
        )
    table.add_row("a controller that knows the maze", f"{info.reference.maximum:.1f}", "100.0")
    table.caption = f"± is the std over {summary['AG off']['score']['n']:.0f} episodes; the same starts for both"
    table.caption_justify = "left"
    return table


def verdict(summary: dict[str, Any]) -> str:
    """What Action Gradient changed, whatever that is."""
    off, on = summary["AG off"]["score"], summary["AG on"]["score"]
    change = on["mean"] - off["mean"]
    error = 1.96 * ((off["std"] ** 2 + on["std"] ** 2) / off["n"]) ** 0.5
    word = "raised" if change > error else "lowered" if change < -error else "did not clearly change"
    return f"Action Gradient {word} the score: {change:+.1f} (95 % interval ± {error:.1f})"


def draw(episodes: list[Any], size: str, path: Path) -> Path:
    """The paths of the first episodes, Action Gradient off and on."""
    import numpy as np

    from dtag.report.maze_figure import draw_paths_side_by_side

    paths = {
        label: [np.stack(row.states)[:, :2] for row in episodes if row.label == label][:12]
        for label in ("AG off", "AG on")
    }
    draw_paths_side_by_side(size, paths["AG off"], paths["AG on"], ("Action Gradient off", "Action Gradient on"), path)
    return path
