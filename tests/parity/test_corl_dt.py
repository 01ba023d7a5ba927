"""CORL's Decision Transformer (see record_corl_dt.py): same outputs, losses, and weights after three updates."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from dtag.data.segments import SegmentBatch
from dtag.losses.action_mse import ActionMSE
from dtag.policy.decision_transformer import DecisionTransformer
from dtag.training.optimizers import OptimizerSettings

TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}
OPTIMIZER = OptimizerSettings("adamw", learning_rate=1e-2, weight_decay=1e-2, warmup_steps=2, gradient_clip=0.25)

PARTS = ("query", "key", "value")


@pytest.fixture(scope="module")
def record() -> dict[str, Tensor]:
    with np.load(Path(__file__).with_name("corl_dt.npz")) as file:
        return {name: torch.from_numpy(file[name]) for name in file.files}


def _weights(record: dict[str, Tensor], when: str) -> dict[str, Tensor]:
    """The reference's weights under our names."""
    names = {
        "model.embed_state": "state_emb",
        "model.embed_return": "return_emb",
        "model.embed_action": "action_emb",
        "model.norm": "emb_norm",
        "model.transformer.final_norm": "out_norm",
        "head.mean.linear": "action_head.0",
    }
    weights = {"model.embed_time.weight": record[f"{when}/timestep_emb.weight"]}
    for block in range(2):
        mine, other = f"model.transformer.blocks.{block}", f"blocks.{block}"
        names[f"{mine}.attention_out"] = f"{other}.attention.out_proj"
        names[f"{mine}.mlp_in"], names[f"{mine}.mlp_out"] = f"{other}.mlp.0", f"{other}.mlp.2"
        names[f"{mine}.norm_attention"], names[f"{mine}.norm_mlp"] = f"{other}.norm1", f"{other}.norm2"
        for kind in ("weight", "bias"):
            parts = record[f"{when}/{other}.attention.in_proj_{kind}"].chunk(3)
            weights |= {f"{mine}.{part}.{kind}": value for part, value in zip(PARTS, parts, strict=True)}
    for mine, other in names.items():
        weights |= {f"{mine}.{kind}": record[f"{when}/{other}.{kind}"] for kind in ("weight", "bias")}
    return weights


def _policy(record: dict[str, Tensor]) -> DecisionTransformer:
    policy = DecisionTransformer(
        3,
        (-1.0, -1.0),
        (1.0, 1.0),
        len(record["start/timestep_emb.weight"]) - 1,
        hidden=16,
        n_layers=2,
        n_heads=2,
        token_order="rsa",
        head="deterministic",
        norm="pre",
        attention_dropout=0.0,
        attention_dropout_on="weights",
        residual_dropout=0.0,
        init="normal",
    )
    weights = _weights(record, "start")
    assert policy.state_dict().keys() - {"head.mean.middle", "head.mean.half_range"} == weights.keys()
    policy.load_state_dict(weights, strict=False)
    return policy


def _batch(record: dict[str, Tensor], step: int) -> SegmentBatch:
    part = {name: record[f"batch/{name}"][step] for name in ("states", "actions", "timesteps")}
    mask, returns = record["batch/mask"][step].bool(), record["batch/returns_to_go"][step]
    return SegmentBatch(**part, returns_to_go=returns[..., None], mask=mask, rows=part["timesteps"])


@torch.no_grad()
def test_the_actions_are_the_references_at_every_valid_step(record):
    # In the padding they differ: its queries there do not see the padding's keys, ours do. Nobody reads them.
    batch = _batch(record, 0)
    output = _policy(record)(batch.states, batch.actions, batch.returns_to_go, batch.timesteps)
    torch.testing.assert_close(output.action[batch.mask], record["action"][batch.mask], **TOLERANCE)
    assert not batch.mask.all()


def test_three_updates_give_its_losses_and_weights(record):
    policy, term = _policy(record), ActionMSE(denominator="all")
    optimizer, schedule = OPTIMIZER.make(policy)
    for step in range(3):
        batch = _batch(record, step)
        loss, _ = term(batch, policy(batch.states, batch.actions, batch.returns_to_go, batch.timesteps))
        torch.testing.assert_close(loss, record["losses"][step], **TOLERANCE)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(policy.parameters(), OPTIMIZER.gradient_clip)
        optimizer.step()
        schedule.step()
    for name, value in _weights(record, "trained").items():
        if name.endswith(".key.bias"):  # adds the same to every score of a query: its gradient is 0, its update noise
            continue
        torch.testing.assert_close(policy.state_dict()[name], value, **TOLERANCE, msg=lambda m, n=name: f"{n}: {m}")
