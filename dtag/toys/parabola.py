"""Paper 1, Figure 2: one state, r(a) = 1 - a^2, data only where |a| > 0.5; what DT, TP, PG and AG earn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dtag.data.toy_datasets import Sides, one_state_episodes, parabola_actions, write_npz
from dtag.rollout.agent import Agent
from dtag.training.checkpoint import load_agent
from dtag.training.experiment import resolve
from dtag.training.fit import FitResult, fit

CONFIG = "conf/toy/parabola.yaml"
METHODS = ("DT", "TP", "PG", "AG, n = 5", "AG, n = 20")
GRID = np.linspace(-1.0, 1.0, 201)
# What differs from the YAML. AG is TP's agent with its critic's gradient on; PG is trained with the same critic.
DT = ("return_model=null", "losses.return=null", "critic=null", "ag=null", "eval.target_return=1")
PG = ("losses.pg.target=dtag.losses.policy_gradient.PolicyGradient", "losses.pg.weight=1", "ag=null")


@dataclass(frozen=True)
class ParabolaResult:
    """One seed's. actions: (N,) of the data. best: the data's largest reward. critic: (201,) Q over GRID.

    chosen: the action of each of METHODS.
    """

    sides: Sides
    seed: int
    actions: NDArray[np.float32]
    best: float
    critic: NDArray[np.float32]
    chosen: dict[str, float]


def run_parabola(folder: Path, sides: Sides, seed: int, overrides: Sequence[str] = ()) -> ParabolaResult:
    """Draw the data, train the three agents below `folder` and let each act once. overrides: of the YAML."""
    trajectories = one_state_episodes("parabola", parabola_actions(sides, seed))
    name = f"{sides}-{seed}"
    data = write_npz(trajectories, folder / "data" / f"parabola-{name}.npz")
    common = [f"data.id={data}", f"seed={seed}", f"output={folder}", f"name={name}", *overrides]

    def train(method: str, *own: str) -> FitResult:
        return fit(resolve([CONFIG], [*common, *own]), key=method)

    promised = train("TP")
    with_gradient = train("PG", *PG, f"critic.ckpt={promised.critic}")
    asked = train("DT", *DT)
    agents = {"DT": _agent(asked, 0), "TP": _agent(promised, 0), "PG": _agent(with_gradient, 0)}
    agents |= {f"AG, n = {n}": _agent(promised, n) for n in (5, 20)}
    return ParabolaResult(
        sides,
        seed,
        trajectories.actions[:, 0],
        float(trajectories.rewards.max()),
        _critic_curve(agents["TP"]),
        {method: _act(agent) for method, agent in agents.items()},
    )


def _agent(result: FitResult, n_steps: int) -> Agent:
    """The trained agent with that many steps of Action Gradient; none needs no critic."""
    assert result.agent is not None
    return load_agent(result.agent, overrides=[f"ag.n_steps={n_steps}"] if n_steps else ["ag=null"])


def _act(agent: Agent) -> float:
    agent.reset()
    return float(agent.act(np.zeros(1))[0])


def _critic_curve(agent: Agent) -> NDArray[np.float32]:
    """Q of the one state over GRID, (201,)."""
    critic: Any = agent.critic
    actions = torch.from_numpy(GRID.astype(np.float32)).unsqueeze(1)
    with torch.no_grad():
        q: torch.Tensor = critic.q_reduced(torch.zeros_like(actions), actions)
    return q.numpy()
