"""Paper 1, eq. 3 and Sec. 3.3: what three critics believe of refined actions while they learn, and what is true."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning import Callback, Trainer
from numpy.typing import NDArray

from dtag.data.toy_datasets import chain_episodes, write_npz
from dtag.data.toy_environments import chain_optimal_value
from dtag.rollout.agent import Agent
from dtag.training.checkpoint import load_agent
from dtag.training.experiment import build_agent, resolve
from dtag.training.fit import fit

CONFIG = "conf/toy/chain.yaml"
DISCOUNT = 0.9
N_POINTS = 60  # on a curve
PROBES = np.linspace(-1.0, 1.0, 41)  # states at which estimates are taken
CLONE = ("critic=null", "ag=null", "train.n_steps=300")  # its actions vary about 0 whatever the state
# What differs from the YAML; the policy is trained anew beside each Bellman critic and not at all for IQL.
CRITICS: dict[str, tuple[str, ...]] = {
    "IQL": (
        "critic=null",
        "critic.target=dtag.training.settings.CriticSettings",
        "critic.n_steps=${train.n_steps}",
        "critic.updates_per_step=1",
        "critic.model.target=dtag.critic.iql.IQL",
        "critic.model.hidden=[64,64]",
        "critic.model.n_q=1",
        "critic.model.discount=0.9",
        "critic.model.polyak=0.05",
        "critic.model.learning_rate=1e-3",
    ),
    "Bellman": ("critic.model.rule.refiner=null",),
    "Bellman + AG": (),
}


@dataclass(frozen=True)
class ChainResult:
    """One seed of one critic. updates: (P,) critic updates done. estimates: (P,) mean over PROBES of
    Q(s, refined action); optimum: the mean over PROBES of the best policy's value.
    """

    critic: str
    seed: int
    updates: NDArray[np.int64]
    estimates: NDArray[np.float64]
    optimum: float


class RecordEstimate(Callback):
    """What the module's critic says of the actions that Action Gradient, climbing that critic, makes of the clone's.

    config: for the agent's `ag`. clone: the agent whose policy and normalisation are used. every: updates between
    estimates.
    """

    def __init__(self, config: dict[str, Any], clone: Agent, every: int) -> None:
        self.config, self.clone, self.every = config, clone, every
        self.updates, self.estimates = list[int](), list[float]()

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        self._record(0, pl_module.critic)

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if (batch_idx + 1) % self.every == 0:
            self._record(batch_idx + 1, pl_module.critic)

    def _record(self, n_updates: int, critic: Any) -> None:
        spec, policy = self.clone.spec, self.clone.policy
        agent = build_agent(self.config, spec, policy, None, critic, {})
        agent.reset(len(PROBES))
        states = PROBES[:, None]
        actions = agent.act_rows(range(len(PROBES)), states).actions
        with torch.no_grad():
            q = critic.q_reduced(torch.from_numpy(spec.normalize(states)), torch.from_numpy(actions))
        self.updates.append(n_updates)
        self.estimates.append(float(q.mean()))


def run_chain(folder: Path, critic: str, seed: int, overrides: Sequence[str] = ()) -> ChainResult:
    """Train one of CRITICS on the narrow behaviour's data and watch its estimates. overrides: of the YAML."""
    name = f"{critic.replace(' + ', '-')}-{seed}"
    data = write_npz(chain_episodes(seed), folder / "data" / f"chain-{name}.npz")
    common = [f"data.id={data}", f"seed={seed}", f"output={folder}", f"name={name}", *overrides]
    cloned = fit(resolve([CONFIG], [*common, *CLONE]), key="clone")
    assert cloned.agent is not None
    config = resolve([CONFIG], [*common, *CRITICS[critic]])
    record = RecordEstimate(config, load_agent(cloned.agent), max(config["train"]["n_steps"] // N_POINTS, 1))
    fit(config, stage="critic" if critic == "IQL" else "all", key="critic", callbacks=[record])
    optimum = float(chain_optimal_value(PROBES, DISCOUNT).mean())
    return ChainResult(critic, seed, np.array(record.updates), np.array(record.estimates), optimum)
