"""Parts of a user's own that lack something are refused before there is a run, by the key that names them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import dtag
from dtag.critic.iql import IQL
from dtag.errors import UsageError
from dtag.losses.action_mse import ActionMSE
from dtag.policy.return_model import ReturnMLP
from dtag.training.fit import fit
from tests.reference.toy_environment import line_config, random_agent, store_line


class NoOptimizer(nn.Module):
    def loss(self, batch: Any) -> Any: ...

    def update_target(self) -> None: ...


class WideQ(IQL):
    """One Q too many a row."""

    def q_reduced(self, *inputs: Any) -> torch.Tensor:  # type: ignore[override]
        return super().q_reduced(*inputs).unsqueeze(-1)


class NoPrediction(nn.Module):
    def __init__(self, state_dim: int) -> None:
        super().__init__()
        self.model = ReturnMLP(state_dim)


class TwoArguments(ActionMSE):
    def __call__(self, batch: Any, output: Any) -> Any:  # type: ignore[override]
        return super().__call__(batch, output)


class PerRow(ActionMSE):
    def __call__(self, batch: Any, output: Any, critic: Any = None) -> Any:
        return (output.action - batch.actions).square().mean((1, 2)), {}


class Breaks(ActionMSE):
    def __call__(self, batch: Any, output: Any, critic: Any = None) -> Any:
        raise ZeroDivisionError("on its own")


def own(kind: type) -> dict[str, str]:
    return {"target": f"{__name__}.{kind.__name__}"}


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"critic": {"model": own(NoOptimizer), "n_steps": 2}}, "critic.model: NoOptimizer lacks optimizer"),
        ({"critic": {"model": own(WideQ), "n_steps": 2}}, r"critic.model: q_reduced must return .*\(1, 1\)"),
        ({"return_model": own(NoPrediction)}, "return_model: NoPrediction lacks predict_return"),
        (
            {"losses": {"mine": own(TwoArguments)}},
            r"losses.mine: TwoArguments is called with \(batch, output, critic\)",
        ),
        ({"losses": {"action": None, "return": None}}, "no loss terms"),
    ],
)
def test_it_is_refused_before_there_is_a_folder(tmp_path: Path, sections: dict[str, Any], message: str) -> None:
    config = line_config(store_line(), tmp_path / "runs")
    for name, section in sections.items():
        config[name] = {**config.get(name, {}), **section} if name == "losses" else section
    with pytest.raises(UsageError, match=message):
        fit(config)
    assert not (tmp_path / "runs").exists()


def test_a_loss_that_is_no_scalar_is_named(tmp_path: Path) -> None:
    config = line_config(store_line(), tmp_path)
    with pytest.raises(UsageError, match=r"losses.mine must return \(loss, info\): a scalar"):
        fit({**config, "losses": {**config["losses"], "mine": own(PerRow)}})


def test_what_a_term_raises_says_which_term_it_was(tmp_path: Path) -> None:
    config = line_config(store_line(), tmp_path)
    with pytest.raises(ZeroDivisionError) as error:
        fit({**config, "losses": {**config["losses"], "mine": own(Breaks)}})
    assert any("losses.mine" in note for note in error.value.__notes__)


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ({"output": "/proc/nope"}, "output=/proc/nope: .*cannot be made"),
        ({"output": "FILE/runs"}, "output=.*FILE is no folder"),
        ({"name": "../up"}, "name=../up leads out of the output folder"),
        ({"experiment": "/tmp"}, "experiment=/tmp leads out of the output folder"),
    ],
)
def test_a_place_that_cannot_be_is_named(tmp_path: Path, monkeypatch, place: dict[str, str], message: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("FILE").write_text("")
    with pytest.raises(UsageError, match=message):
        fit({**line_config(store_line(), tmp_path / "runs"), **place})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["FILE"]


def test_from_python_a_path_or_an_empty_config_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match=r"resolve\(\[PATH\]"):
        dtag.fit("conf/hopper.yaml")
    with pytest.raises(UsageError, match="resolve_online"):
        dtag.finetune("agent.ckpt", {})
    with pytest.raises(UsageError, match="list of texts"):
        dtag.load("agent.ckpt", overrides="ag.n_steps=3")


@pytest.mark.parametrize("n_slots", [0, -1, "x", 1.5])
def test_an_agent_is_reset_to_a_number_of_rows(n_slots: Any) -> None:
    with pytest.raises(dtag.errors.DtagError, match="1 or more"):
        random_agent(2, 1).reset(n_slots)
