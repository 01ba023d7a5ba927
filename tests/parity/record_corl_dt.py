"""Records what CORL's Decision Transformer computes, for test_corl_dt.py.

    python tests/parity/record_corl_dt.py PATH/TO/CORL

CORL: github.com/tinkoff-ai/CORL, algorithms/offline/dt.py at commit 2c308c8881546ff2dda78d93346726887b1d8aac. Its own
`train` runs, on given batches instead of a dataset and without evaluations: the outputs before training, the loss it
logs at each of N_STEPS, and the weights it ends in. The record beside this file was made from a stored copy of the model
and `train`, comments left out, not from a clone.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from unittest.mock import MagicMock

import numpy as np
import torch

STATE_DIM, ACTION_DIM, K, ROWS, N_STEPS, EPISODE = 3, 2, 5, 6, 3, 7
OPTIONS = {
    "embedding_dim": 16,
    "num_layers": 2,
    "num_heads": 2,
    "seq_len": K,
    "episode_len": EPISODE,
    "attention_dropout": 0.0,
    "residual_dropout": 0.0,
    "embedding_dropout": 0.0,
    "learning_rate": 1e-2,  # so large that three steps are seen
    "weight_decay": 1e-2,
    "clip_grad": 0.25,
    "warmup_steps": 2,
    "update_steps": N_STEPS,
    "eval_episodes": 1,
    "target_returns": (1.0,),
    "device": "cpu",
}


def load_reference(checkout: Path) -> ModuleType:
    """The reference's module; what it imports for environments and logging is not needed and not installed."""
    for name in ("gym", "d4rl", "wandb", "pyrallis"):
        sys.modules[name] = MagicMock()
    sys.modules["pyrallis"].wrap = lambda: lambda function: function
    sys.path.insert(0, str(checkout / "algorithms" / "offline"))
    import dt

    return dt


def make_batches() -> list[tuple[torch.Tensor, ...]]:
    """(states, actions, returns, time_steps, mask) as its dataset pads them: zeros on the right, time steps going on."""
    batches = []
    for _ in range(N_STEPS):
        lengths = torch.randint(1, K + 1, (ROWS,))
        mask = (torch.arange(K) < lengths[:, None]).float()
        states, actions = torch.randn(ROWS, K, STATE_DIM), torch.rand(ROWS, K, ACTION_DIM) * 2 - 1
        returns = torch.randn(ROWS, K) + 1
        time_steps = torch.randint(0, EPISODE, (ROWS, 1)) + torch.arange(K)
        batches.append((states * mask[..., None], actions * mask[..., None], returns * mask, time_steps, mask))
    return batches


def record(reference: ModuleType) -> dict[str, np.ndarray]:
    torch.manual_seed(0)
    batches = make_batches()
    names = ("states", "actions", "returns_to_go", "timesteps", "mask")
    out = {f"batch/{name}": torch.stack(values) for name, values in zip(names, zip(*batches, strict=True), strict=True)}
    models: list[torch.nn.Module] = []

    def weights(prefix: str) -> dict[str, torch.Tensor]:
        kept = {n: v.clone() for n, v in models[0].state_dict().items() if not n.endswith("causal_mask")}
        return {f"{prefix}/{name}": value for name, value in kept.items()}

    transformer = reference.DecisionTransformer

    def build(**options) -> torch.nn.Module:
        models.append(transformer(**options))
        with torch.no_grad():
            for parameter in models[0].parameters():
                parameter.add_(0.2 * torch.randn_like(parameter))  # biases and LayerNorms too
            states, actions, returns, time_steps, mask = batches[0]
            out["action"] = models[0](states, actions, returns, time_steps, padding_mask=mask == 0)
        out.update(weights("start"))
        return models[0]

    environment = SimpleNamespace(
        observation_space=SimpleNamespace(shape=(STATE_DIM,)),
        action_space=SimpleNamespace(shape=(ACTION_DIM,)),
        seed=lambda _: None,
        get_normalized_score=lambda returns: returns,
    )
    reference.DecisionTransformer = build
    reference.SequenceDataset = MagicMock()
    reference.DataLoader = lambda *_, **__: batches
    reference.wrap_env = lambda **_: environment
    reference.eval_rollout = lambda **_: (0.0, 0.0)
    reference.train(reference.TrainConfig(**OPTIONS))
    logged = [call.args[0] for call in reference.wandb.log.call_args_list]
    out["losses"] = torch.tensor([entry["train_loss"] for entry in logged if "train_loss" in entry])
    out |= weights("trained")
    return {name: value.detach().numpy() for name, value in out.items()}


if __name__ == "__main__":
    path = Path(__file__).with_name("corl_dt.npz")
    np.savez_compressed(path, **record(load_reference(Path(sys.argv[1]))))
    print(f"{path}: {path.stat().st_size / 1e3:.0f} kB")
