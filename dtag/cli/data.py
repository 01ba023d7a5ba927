"""`dtag data`: see, fetch, import and make datasets."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dtag.errors import DataError, UsageError

if TYPE_CHECKING:
    from dtag.data.dataset import Dataset

_DEFAULT_STEPS = 1_000_000  # D4RL's maze2d files have as many


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The commands below `dtag data`."""
    commands = parser.add_subparsers(dest="data_command", metavar="COMMAND", required=True)

    def add(name: str, help: str) -> argparse.ArgumentParser:
        added: argparse.ArgumentParser = commands.add_parser(
            name, help=help, description=help, formatter_class=parser.formatter_class, allow_abbrev=False
        )
        return added

    add("list", "what datasets are on this machine and which others dtag knows")
    info = add("info", "what is in a dataset, and a picture of its returns")
    info.add_argument("id", metavar="ID", help="dataset id, D4RL name or file; several joined by +")
    info.add_argument("--figure", metavar="PNG", help="where to draw the returns (default: below $DTAG_CACHE)")
    get = add("get", "fetch a D4RL or Minari dataset to this machine")
    get.add_argument("id", metavar="ID", help="e.g. hopper-medium-v2 or mujoco/hopper/medium-v0")
    _add_import(add("import", "turn a file (D4RL's HDF5 layout, or .npz) into a local dataset"))
    make = add("make", "make a dataset here, without a download")
    make.add_argument(
        "name", metavar="NAME", help="e.g. pointmaze-umaze, pointmaze-large-dense-limit; or random, with --env"
    )
    make.add_argument(
        "--env", help="for random: Gymnasium id, package.module:callable or D4RL's name (antmaze-umaze, pen)"
    )
    make.add_argument("--env-kwargs", metavar="K=V,...", help="for random: arguments of the environment")
    make.add_argument("--observation-keys", metavar="A,B", help="for random: entries of a dict observation to join")
    make.add_argument("--steps", type=int, default=_DEFAULT_STEPS, help=f"steps to make (default {_DEFAULT_STEPS:,})")
    make.add_argument("--seed", type=int, default=0, help="default 0")
    make.add_argument("--id", help="id to store it under (default local/pointmaze/...-v0)")
    make.add_argument("--overwrite", action="store_true", help="replace a dataset of that id")


def _add_import(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help=".hdf5, .h5 or .npz")
    parser.add_argument("--id", help="id to store it under, e.g. local/hopper/medium-v0 (default: by its name)")
    parser.add_argument("--env", help="Gymnasium id to evaluate on, e.g. Hopper-v5 (default: what the file says)")
    parser.add_argument("--reference", metavar="NAME", help="D4RL dataset whose constants score it (default: by --env)")
    parser.add_argument("--split-on", choices=("either", "truncated"), help="what ends an episode (default: look)")
    parser.add_argument("--state-dims", type=int, metavar="N", help="keep the first N dims of a state")
    parser.add_argument("--overwrite", action="store_true", help="replace a dataset of that id")


def run(args: argparse.Namespace) -> int:
    """Do what `add_arguments`'s arguments say; the exit status. Raises DtagError."""
    commands = {"list": _list, "info": _info, "get": _get, "import": _import, "make": _make}
    commands[args.data_command](args)
    return 0


def _list(_: argparse.Namespace) -> None:
    from dtag.cli.data_tables import known_tables, local_table, print_wide
    from dtag.data.local_datasets import datasets_root, local_datasets

    print_wide(local_table(local_datasets(), datasets_root()), *known_tables())


def _info(args: argparse.Namespace) -> None:
    from dtag.cli.data_tables import info_tables, print_wide, working
    from dtag.data.describe import summarize
    from dtag.data.load import load_dataset

    with working(f"reading {args.id}"):
        dataset = load_dataset(args.id)
        summary = summarize(dataset)
    print_wide(*info_tables(dataset, summary))
    if summary.n_complete:
        from dtag.data.return_figure import draw_returns

        print_wide(f"returns drawn in {draw_returns(dataset, args.figure or _figure_path(dataset.info.id))}")


def _get(args: argparse.Namespace) -> None:
    from dtag.cli.data_tables import bar, working
    from dtag.data.catalog import GENERATED, suggestion
    from dtag.data.d4rl_catalog import d4rl_sources
    from dtag.data.load import load_minari, obtain_d4rl
    from dtag.data.local_datasets import datasets_root, is_local

    if args.id in GENERATED:
        raise UsageError(f"'{args.id}' is made, not fetched: run `dtag data make {args.id}`")
    source = d4rl_sources().get(args.id)
    if source is None and "/" not in args.id:
        raise DataError(f"there is no dataset '{args.id}'{suggestion(args.id)}")
    present = is_local(source.local_id if source else args.id)
    if source:
        with bar(f"fetching {args.id}", unit="bytes") as progress:
            dataset = obtain_d4rl(source, progress=progress)
    else:
        with working(f"fetching {args.id}"):
            dataset = load_minari(args.id)
    _report(dataset, datasets_root() / dataset.info.id, "is here already" if present else "fetched")


def _import(args: argparse.Namespace) -> None:
    from dtag.cli.data_tables import bar, working
    from dtag.data.import_file import import_file
    from dtag.data.minari_store import check_free, save

    with working(f"reading {args.file}"):
        dataset = import_file(
            args.file,
            id=args.id,
            environment=args.env,
            reference=args.reference,
            split_on=args.split_on,
            state_dims=args.state_dims,
        )
    check_free(dataset.info.id, overwrite=args.overwrite)
    with bar(f"writing {dataset.info.id}", unit="episodes") as progress:
        folder = save(dataset, overwrite=args.overwrite, progress=progress)
    _report(dataset, folder, "imported")


def _make(args: argparse.Namespace) -> None:
    from dataclasses import replace

    from dtag.cli.data_tables import bar
    from dtag.config.nearest import did_you_mean, nearest
    from dtag.data.catalog import GENERATED, generated_id
    from dtag.data.minari_store import check_free, save

    if args.name == "random":
        _make_random(args)
        return
    if args.env or args.env_kwargs or args.observation_keys:
        raise UsageError("--env, --env-kwargs and --observation-keys go with `dtag data make random`")
    if args.name not in GENERATED:
        offers = did_you_mean(nearest(args.name, GENERATED)) or f"; known are {', '.join(GENERATED)}"
        raise UsageError(f"no generator is named '{args.name}'{offers}")
    _refuse_steps_and_seed(args)
    id = args.id or generated_id(args.name)
    check_free(id, overwrite=args.overwrite)  # before minutes of simulation, not after
    from dtag.data.pointmaze import make_point_maze_dataset

    with bar(f"simulating {args.name}", unit="steps") as progress:
        arguments: dict[str, Any] = dict(GENERATED[args.name])
        made = make_point_maze_dataset(**arguments, n_steps=args.steps, seed=args.seed, progress=progress)
    made = replace(made, info=replace(made.info, id=id))
    with bar(f"writing {id}", unit="episodes") as progress:
        folder = save(made, overwrite=args.overwrite, progress=progress)
    _report(made, folder, "made")


def _refuse_steps_and_seed(args: argparse.Namespace) -> None:
    for name, least in (("steps", 1), ("seed", 0)):
        if getattr(args, name) < least:
            raise UsageError(f"--{name} must be at least {least}, not {getattr(args, name)}")


def _make_random(args: argparse.Namespace) -> None:
    from dtag.cli.data_tables import bar
    from dtag.data.minari_store import check_free, save
    from dtag.data.random_actions import make_random_dataset, random_id

    if not args.env:
        raise UsageError("`dtag data make random` needs --env, e.g. --env Hopper-v5 or --env antmaze-umaze")
    _refuse_steps_and_seed(args)
    id = args.id or random_id(args.env)
    check_free(id, overwrite=args.overwrite)
    keys = tuple((args.observation_keys or "").split(",")) if args.observation_keys else ()
    with bar(f"acting at random in {args.env}", unit="steps") as progress:
        made = make_random_dataset(
            args.env, n_steps=args.steps, seed=args.seed, id=id, observation_keys=keys, progress=progress,
            kwargs=_keyword_arguments(args.env_kwargs),
        )  # fmt: skip
    with bar(f"writing {id}", unit="episodes") as progress:
        folder = save(made, overwrite=args.overwrite, progress=progress)
    _report(made, folder, "made")


def _keyword_arguments(text: str | None) -> dict[str, Any]:
    """ "continuing_task=false,reward_type=sparse" -> a dict of what YAML makes of the values."""
    from omegaconf import OmegaConf

    pairs = [pair.strip() for pair in (text or "").split(",") if pair.strip()]
    if any("=" not in pair for pair in pairs):
        raise UsageError(f"--env-kwargs takes KEY=VALUE,KEY=VALUE, not {text!r}")
    return {str(key): value for key, value in OmegaConf.from_dotlist(pairs).items()}


def _report(dataset: Dataset, folder: Path, what: str) -> None:
    from dtag.cli.data_tables import print_wide

    trajectories, info = dataset.trajectories, dataset.info
    print_wide(f"{info.id} {what}: {trajectories.n_episodes:,} episodes, {trajectories.n_steps:,} steps")
    print_wide(f"  in {folder}")
    unchecked = info.provenance.get("environment_not_checked")
    if unchecked:
        print_wide(f"  dims and bounds were not checked against the environment: {unchecked}")
    print_wide(f"  look at it with: dtag data info {info.id}")


def _figure_path(id: str) -> Path:
    from dtag.data.cache_folder import cache_folder

    name = "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in id)
    return cache_folder() / "figures" / f"{name}.png"
