"""Records what Reinformer's code computes, for test_reinformer.py.

    python tests/parity/record_reinformer.py PATH/TO/Reinformer

Reinformer: github.com/Dragon-Zhuang/Reinformer at commit 61eaed92999239d9a3b1324a449e32c57a4c49ec. The record beside this
file was made from stored copies, comments left out, not from a clone: trainer.py at that commit, model/reinformer.py,
model/__init__.py and eval.py at f93bded, model/net.py at 706acb9. Its lamb.py was not to be had; online-dt's stood in
for it (the copy in pytorch/rl), which has every property known of Reinformer's. Run it again on a clone if one
is at hand: the test must pass unchanged.

Recorded: the outputs before training; the total loss of, and the weights after, N_STEPS of the official train_step; a part of
them after N_STEPS with log_std held fixed; one episode of the official evaluation.
"""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch

STATE_DIM, ACTION_DIM, K, ROWS, N_STEPS, TABLE = 3, 2, 5, 6, 3, 8
VARIANT = {
    "n_blocks": 2,
    "embed_dim": 16,
    "context_len": K,
    "n_heads": 2,
    "dropout_p": 0.0,
    "init_temperature": 0.1,
    "lr": 1e-2,  # so large that three steps are seen
    "wd": 1e-2,
    "grad_norm": 0.25,
    "warmup_steps": 2,
    "tau": 0.99,
}
# Of the run with log_std held fixed only these are kept: the record is to stay small.
SPOT_CHECKS = (
    "embed_state.weight",
    "transformer.0.attention.q_net.weight",
    "transformer.1.ln2.bias",
    "predict_rtg.weight",
)
SPOT_CHECKS += ("predict_action.mu.weight",)


def load_trainer(checkout: Path) -> type:
    """The official trainer class, with a time table small enough to be recorded (max_timestep is its model's argument)."""
    sys.path[:0] = [
        str(checkout),
        str(checkout / "model"),
    ]  # one of its versions says `from reinformer import ReinFormer`
    import trainer

    trainer.ReinFormer = functools.partial(trainer.ReinFormer, max_timestep=TABLE)
    return trainer.ReinFormerTrainer


def make_batches() -> dict[str, torch.Tensor]:
    lengths = torch.randint(1, K + 1, (N_STEPS, ROWS))
    lengths[:, 0] = K
    mask = torch.arange(K) < lengths[..., None]  # (N_STEPS, ROWS, K)
    return {
        "states": torch.randn(N_STEPS, ROWS, K, STATE_DIM) * mask[..., None],
        "actions": (torch.rand(N_STEPS, ROWS, K, ACTION_DIM) * 2 - 1) * mask[..., None],
        "returns_to_go": (torch.randn(N_STEPS, ROWS, K) + 1) * mask,
        "timesteps": (torch.randint(0, TABLE - K + 1, (N_STEPS, ROWS, 1)) + torch.arange(K)) * mask,
        "mask": mask.long(),
    }


def weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items() if not name.endswith("mask")}


def train(trainer_class: type, start: dict[str, torch.Tensor], batches: dict[str, torch.Tensor], learn_std: bool):
    """The trainer after N_STEPS official steps from the given weights, and the loss of each step."""
    trainer = trainer_class(STATE_DIM, ACTION_DIM, "cpu", VARIANT)
    trainer.model.load_state_dict(start, strict=False)
    trainer.model.predict_action.log_std.requires_grad_(learn_std)
    losses = []
    for step in range(N_STEPS):
        batch = {name: value[step] for name, value in batches.items()}
        mask = batch.pop("mask")
        losses.append(trainer.train_step(**batch, rewards=torch.zeros(ROWS, K), traj_mask=mask))
    return trainer, torch.tensor(losses)


def run_episode(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """One official evaluation episode of TABLE steps over given states: what it predicts and what it does."""
    from eval import Reinformer_eval

    states, done, predicted = torch.randn(TABLE + 1, STATE_DIM), [], []

    def step(action: np.ndarray):
        done.append(torch.from_numpy(action.copy()))
        return states[len(done)].numpy(), 0.0, len(done) == TABLE, {}

    def forward(*inputs: torch.Tensor):
        output = model.forward(*inputs)
        predicted.append(output[0][0, min(len(done), K - 1)].clone())
        return output

    environment = SimpleNamespace(
        observation_space=SimpleNamespace(shape=(STATE_DIM,)),
        action_space=SimpleNamespace(shape=(ACTION_DIM,)),
        reset=lambda: states[0].numpy(),
        step=step,
    )
    spied = SimpleNamespace(eval=model.eval, forward=forward)
    mean, std = np.zeros(STATE_DIM, np.float32), np.ones(STATE_DIM, np.float32)
    Reinformer_eval(spied, "cpu", K, environment, mean, std, num_eval_ep=1, max_test_ep_len=TABLE)
    return {
        "episode/states": states[:TABLE],
        "episode/actions": torch.stack(done),
        "episode/returns_to_go": torch.stack(predicted[::2]),  # two forwards a step; the first predicts the return
    }


def record(trainer_class: type) -> dict[str, np.ndarray]:
    torch.manual_seed(0)
    model = trainer_class(STATE_DIM, ACTION_DIM, "cpu", VARIANT).model
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if not name.endswith("log_std"):
                parameter.add_(0.2 * torch.randn_like(parameter))  # LayerNorms too: all ones would hide a wrong mapping
    start, batches = weights(model), make_batches()
    out = {f"batch/{name}": value for name, value in batches.items()}
    out |= {f"start/{name}": value for name, value in start.items()}
    with torch.no_grad():
        inputs = [batches[name][0] for name in ("timesteps", "states", "actions")]
        predicted, distribution, _ = model(*inputs, batches["returns_to_go"][0, ..., None])
    out |= {"predicted_return": predicted, "mean": distribution.mean, "std": distribution.stddev}
    for learn_std, prefix in ((True, "trained"), (False, "fixed_std")):
        trainer, losses = train(trainer_class, start, batches, learn_std)
        end = weights(trainer.model)
        names = start if learn_std else SPOT_CHECKS
        out[f"{prefix}/weights"] = torch.cat([end[name].flatten() for name in names])  # one array: each costs 250 bytes
        out[f"{prefix}/losses"] = losses
        out[f"{prefix}/log_temperature"] = trainer.model.log_temperature.detach()
    out |= run_episode(model)
    return {name: value.numpy() for name, value in out.items()}


if __name__ == "__main__":
    path = Path(__file__).with_name("reinformer.npz")
    np.savez_compressed(path, **record(load_trainer(Path(sys.argv[1]))))
    print(f"{path}: {path.stat().st_size / 1e3:.0f} kB")
