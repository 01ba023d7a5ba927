"""Records what CORL's IQL computes, for test_corl_iql.py.

    python tests/parity/record_corl_iql.py PATH/TO/CORL

CORL: github.com/tinkoff-ai/CORL, algorithms/offline/iql.py at commit 2b19dd1848bef6922a319901614552e02d74a1eb.
Only its critic is asked: one optimiser step of V and of Q and one target update, from given weights, on one batch.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from unittest.mock import MagicMock

import numpy as np
import torch

STATE_DIM, ACTION_DIM, HIDDEN, ROWS, N_STEPS = 5, 2, 8, 16, 3
OPTIONS = {"iql_tau": 0.7, "discount": 0.99, "tau": 0.05}


def load_reference(checkout: Path) -> ModuleType:
    """The reference's module; what it imports for environments and logging is not needed and not installed."""
    for name in ("gym", "d4rl", "wandb", "pyrallis"):
        sys.modules[name] = MagicMock()
    sys.path.insert(0, str(checkout / "algorithms" / "offline"))
    import iql  # type: ignore[import-not-found]

    return iql


def record(reference: ModuleType) -> dict[str, np.ndarray]:
    """Weights before and after each of N_STEPS updates, and the losses."""
    torch.manual_seed(0)
    q = reference.TwinQ(STATE_DIM, ACTION_DIM, HIDDEN)
    v = reference.ValueFunction(STATE_DIM, HIDDEN)
    actor = torch.nn.Linear(1, 1)
    q_adam, v_adam, actor_adam = (torch.optim.Adam(net.parameters(), lr=3e-4) for net in (q, v, actor))
    trainer = reference.ImplicitQLearning(1.0, actor, actor_adam, q, q_adam, v, v_adam, **OPTIONS)
    trainer._update_policy = lambda *_: None
    with torch.no_grad():
        for parameter in trainer.q_target.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    states, next_states = torch.randn(N_STEPS, ROWS, STATE_DIM), torch.randn(N_STEPS, ROWS, STATE_DIM)
    actions, rewards = torch.rand(N_STEPS, ROWS, ACTION_DIM) * 2 - 1, torch.randn(N_STEPS, ROWS)
    terminated = (torch.rand(N_STEPS, ROWS) < 0.3).float()
    out = {
        "states": states,
        "actions": actions,
        "rewards": rewards,
        "next_states": next_states,
        "terminated": terminated,
    }
    for step in range(N_STEPS + 1):
        for network, module in (("q", q), ("v", v), ("q_target", trainer.q_target)):
            out |= {f"{step}/{network}/{name}": value.clone() for name, value in module.state_dict().items()}
        if step == N_STEPS:
            break
        batch = [states[step], actions[step], rewards[step, :, None], next_states[step], terminated[step, :, None]]
        info = trainer.train(batch)
        out[f"{step}/losses"] = torch.tensor([info["q_loss"], info["value_loss"]])
    return {name: value.numpy() for name, value in out.items()}


if __name__ == "__main__":
    path = Path(__file__).with_name("corl_iql.npz")
    np.savez_compressed(path, **record(load_reference(Path(sys.argv[1]))))
    print(f"{path}: {path.stat().st_size / 1e3:.0f} kB")
