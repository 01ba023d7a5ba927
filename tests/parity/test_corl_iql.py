"""CORL's IQL (see record_corl_iql.py): same weights and batches, same losses, same weights after three updates."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from dtag.critic.iql import IQL
from dtag.data.transitions import TransitionBatch

TOLERANCE = {"rtol": 1e-5, "atol": 1e-6}
LAYERS = {"hidden.0": 0, "hidden.1": 2, "output": 4}  # ours: position in the reference's Sequential


@pytest.fixture(scope="module")
def record() -> dict[str, torch.Tensor]:
    with np.load(Path(__file__).with_name("corl_iql.npz")) as file:
        return {name: torch.from_numpy(file[name]) for name in file.files}


def _weights(record: dict[str, torch.Tensor], step: int) -> dict[str, torch.Tensor]:
    """The reference's weights in our layout, (n, in, out) and (n, 1, out)."""
    networks = {
        "q_network": (f"{step}/q/q1", f"{step}/q/q2"),
        "value_network": (f"{step}/v/v",),
        "target_network": (f"{step}/q_target/q1", f"{step}/q_target/q2"),
    }
    weights = {}
    for ours, members in networks.items():
        for layer, theirs in LAYERS.items():
            weights[f"{ours}.{layer}.weight"] = torch.stack([record[f"{m}.net.{theirs}.weight"].T for m in members])
            weights[f"{ours}.{layer}.bias"] = torch.stack([record[f"{m}.net.{theirs}.bias"][None] for m in members])
    return weights


def test_three_updates_give_the_references_losses_and_weights(record):
    critic = IQL(5, 2, n_advantage=0, hidden=(8, 8), expectile=0.7, discount=0.99, polyak=0.05, learning_rate=3e-4)
    critic.load_state_dict(_weights(record, 0))
    optimizer = critic.optimizer()
    for step in range(3):
        batch = TransitionBatch(*(record[name][step] for name in TransitionBatch._fields))
        loss, info = critic.loss(batch)
        losses = torch.stack([info["loss_q"], info["loss_v"]])
        torch.testing.assert_close(losses, record[f"{step}/losses"], **TOLERANCE)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        critic.update_target()
        expected = _weights(record, step + 1)
        for name, value in critic.state_dict().items():
            torch.testing.assert_close(value, expected[name], **TOLERANCE, msg=name)
