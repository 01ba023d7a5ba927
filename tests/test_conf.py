"""Every shipped YAML resolves."""

from __future__ import annotations

from pathlib import Path

import pytest

from dtag.config.load import load_config
from dtag.config.schema import Component, check
from dtag.errors import UsageError
from dtag.training.experiment import resolve

CONF = Path(__file__).parents[1] / "conf"
EXPERIMENTS = sorted(CONF.glob("*.yaml"))
PRESETS = sorted((CONF / "presets").glob("*.yaml"))
GRIDS = sorted((CONF / "sweep").glob("*.yaml"))


def test_no_yaml_is_left_out() -> None:
    assert sorted(CONF.rglob("*.yaml")) == sorted([*EXPERIMENTS, *PRESETS, *GRIDS])
    assert {path.stem for path in EXPERIMENTS} >= {"hopper", "halfcheetah", "walker2d", "maze2d", "demo"}
    assert PRESETS and GRIDS  # noqa: PT018


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_an_experiment_resolves_alone_and_with_every_preset(path: Path) -> None:
    for preset in (None, *PRESETS):
        config = resolve([str(path)], [], None if preset is None else preset.stem)
        assert config["policy"]["n_layers"] == (2 if preset or path.stem == "demo" else 4)


@pytest.mark.parametrize("path", GRIDS, ids=lambda path: path.stem)
def test_a_grid_resolves(path: Path) -> None:
    assert check({"grid": load_config([path])}, {"grid": Component("dtag.sweep.grid.Grid")})["grid"]["eta"]


def test_every_mistake_is_told_at_once() -> None:
    with pytest.raises(UsageError) as error:
        resolve(["conf/hopper.yaml"], ["ag.etaa=1", "data.batch_size=many", "contxt.rule=off"])
    for part in ("3 mistakes", "did you mean 'ag.eta'", "data.batch_size", "did you mean 'context"):
        assert part in str(error.value)
