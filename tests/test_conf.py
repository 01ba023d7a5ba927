"""Every shipped YAML resolves."""

from __future__ import annotations

from pathlib import Path

import pytest

from dtag.config.load import load_config
from dtag.config.schema import Component, check
from dtag.errors import UsageError
from dtag.sweep.plan import plan
from dtag.sweep.sweep_file import is_sweep, read_sweep
from dtag.training.experiment import resolve

CONF = Path(__file__).parents[1] / "conf"
EXPERIMENTS = sorted(CONF.glob("*.yaml"))
METHODS = sorted((CONF / "methods").glob("*.yaml"))  # tests/test_methods.py trains them
TOYS = sorted((CONF / "toy").glob("*.yaml"))  # tests/toys trains them
PRESETS = sorted((CONF / "presets").glob("*.yaml"))
ONLINE = sorted((CONF / "online").glob("*.yaml"))  # tests/test_online.py runs them
SWEEPS = [path for path in sorted((CONF / "sweep").glob("*.yaml")) if is_sweep(str(path))]
GRIDS = sorted({*(CONF / "sweep").glob("*.yaml")} - {*SWEEPS})


def test_no_yaml_is_left_out() -> None:
    assert sorted(CONF.rglob("*.yaml")) == sorted([*EXPERIMENTS, *METHODS, *TOYS, *PRESETS, *ONLINE, *GRIDS, *SWEEPS])
    assert {path.stem for path in EXPERIMENTS} >= {"hopper", "halfcheetah", "walker2d", "maze2d", "demo"}
    assert PRESETS and GRIDS and SWEEPS  # noqa: PT018


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_an_experiment_resolves_alone_and_with_every_preset(path: Path) -> None:
    for preset in (None, *PRESETS):
        config = resolve([str(path)], [], None if preset is None else preset.stem)
        assert config["policy"]["n_layers"] == (2 if path.stem == "demo" or (preset and preset.stem == "small") else 4)


@pytest.mark.parametrize(("method", "rate"), [("rf", 3e-3), ("odt", 3e-3), ("dt", 1e-3), ("adt", 1e-3)])
def test_a_presets_learning_rate_is_that_of_the_methods_optimiser(method: str, rate: float) -> None:
    optimizer = resolve([f"methods/{method}"], [], "small")["optimizer"]
    assert (optimizer["learning_rate"], optimizer["warmup_steps"]) == (rate, 500)


@pytest.mark.parametrize(("method", "n_steps"), [("rf", 150_000), ("cgdt", 10_000)])
def test_a_preset_trains_a_critic_that_learns_from_segments_for_fewer_steps(method: str, n_steps: int) -> None:
    assert resolve([f"methods/{method}"], [], "small")["critic"]["n_steps"] == n_steps
    assert resolve([f"methods/{method}"], ["critic.n_steps=7"], "small")["critic"]["n_steps"] == 7


@pytest.mark.parametrize("method", ["bc", "iql", "awac"])
def test_a_preset_for_sequences_is_refused_for_a_policy_of_one_step(method: str) -> None:
    with pytest.raises(UsageError, match="--preset small_mlp"):
        resolve([f"methods/{method}"], [], "small")
    assert resolve([f"methods/{method}"], [], "small_mlp")["data"]["context_length"] == 1


def test_a_part_of_ones_own_needs_its_target_alone() -> None:
    own = "dtag.policy.return_model.ReturnMLP"
    found = resolve(["methods/rf"], [f"return_model.target={own}", "return_model.n_layers=3"])["return_model"]
    assert found == {"target": own, "hidden": 256, "n_layers": 3}


@pytest.mark.parametrize("path", GRIDS, ids=lambda path: path.stem)
def test_a_grid_resolves(path: Path) -> None:
    assert check({"grid": load_config([path])}, {"grid": Component("dtag.sweep.grid.Grid")})["grid"]["eta"]


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_every_run_of_a_sweep_resolves(path: Path) -> None:
    assert {job.kind for job in plan(read_sweep(str(path)))} >= {"policy"}


def test_every_mistake_is_told_at_once() -> None:
    with pytest.raises(UsageError) as error:
        resolve(["conf/hopper.yaml"], ["ag.etaa=1", "data.batch_size=many", "contxt.rule=off"])
    for part in ("3 mistakes", "did you mean 'ag.eta'", "data.batch_size", "did you mean 'context"):
        assert part in str(error.value)
