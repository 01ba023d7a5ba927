"""Reinformer (see record_reinformer.py): same outputs, losses, weights after three updates, and the same episode."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from lightning import Trainer
from torch import Tensor
from torch.utils.data import DataLoader

from dtag.data.dataset import DatasetInfo
from dtag.data.segments import SegmentBatch
from dtag.data.spec import DataSpec
from dtag.losses.action_nll import ActionNLL
from dtag.losses.return_expectile import ReturnExpectile
from dtag.policy.decision_transformer import DecisionTransformer
from dtag.policy.sequence_model import Window
from dtag.training.lamb import Lamb
from dtag.training.optimizers import OptimizerSettings
from dtag.training.policy_module import PolicyModule

TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}
K, N_STEPS, TABLE = 5, 3, 8
BOUNDS = ((-1.0, -1.0), (1.0, 1.0))
OPTIMIZER = OptimizerSettings("lamb", learning_rate=1e-2, weight_decay=1e-2, warmup_steps=2, gradient_clip=0.25)
SPEC = DataSpec(DatasetInfo("toy", None), (0.0,) * 3, (1.0,) * 3, *BOUNDS, TABLE - 1, 1.0, 1.0, 0.0)
SPOT_CHECKS = (
    "embed_state.weight",
    "transformer.0.attention.q_net.weight",
    "transformer.1.ln2.bias",
    "predict_rtg.weight",
    "predict_action.mu.weight",
)


@pytest.fixture(scope="module")
def record() -> dict[str, Tensor]:
    with np.load(Path(__file__).with_name("reinformer.npz")) as file:
        return {name: torch.from_numpy(file[name]) for name in file.files}


def _ours(theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    """The reference's weights under our names. Its predict_state, which no loss reads, has no counterpart."""
    names = {
        "model.embed_state": "embed_state",
        "model.embed_return": "embed_rtg",
        "model.embed_action": "embed_action",
        "model.norm": "embed_ln",
        "head.mean.linear": "predict_action.mu",
        "return_head": "predict_rtg",
    }
    weights = {
        "model.embed_time.weight": theirs["embed_timestep.weight"],
        "head.log_std": theirs["predict_action.log_std"],
    }
    for block in range(2):
        mine, other = f"model.transformer.blocks.{block}", f"transformer.{block}"
        names[f"{mine}.attention_out"] = f"{other}.attention.proj_net"
        names[f"{mine}.mlp_in"], names[f"{mine}.mlp_out"] = f"{other}.mlp.0", f"{other}.mlp.2"
        names[f"{mine}.norm_attention"], names[f"{mine}.norm_mlp"] = f"{other}.ln1", f"{other}.ln2"
        names |= {f"{mine}.{part}": f"{other}.attention.{part[0]}_net" for part in ("query", "key", "value")}
    for mine, other in names.items():
        weights |= {f"{mine}.{kind}": theirs[f"{other}.{kind}"] for kind in ("weight", "bias")}
    return weights


def _start(record: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix("start/"): value for name, value in record.items() if name.startswith("start/")}


def _unpack(flat: Tensor, shapes: dict[str, Tensor]) -> dict[str, Tensor]:
    parts = flat.split([value.numel() for value in shapes.values()])
    return {name: part.view_as(value) for (name, value), part in zip(shapes.items(), parts, strict=True)}


def _policy(record: dict[str, Tensor], learn_std: bool = False) -> DecisionTransformer:
    policy = DecisionTransformer(
        3,
        *BOUNDS,
        TABLE - 1,
        hidden=16,
        n_layers=2,
        n_heads=2,
        predicts_return=True,
        learn_std=learn_std,
        attention_dropout=0.0,
        residual_dropout=0.0,
    )
    weights = _ours(_start(record))
    assert policy.state_dict().keys() - {"head.mean.middle", "head.mean.half_range"} == weights.keys()
    policy.load_state_dict(weights, strict=False)
    return policy


def _batch(record: dict[str, Tensor], step: int) -> SegmentBatch:
    part = {name: record[f"batch/{name}"][step] for name in ("states", "actions", "timesteps")}
    mask, returns = record["batch/mask"][step].bool(), record["batch/returns_to_go"][step]
    return SegmentBatch(**part, returns_to_go=returns[..., None], mask=mask, rows=part["timesteps"])


def _module(policy: DecisionTransformer) -> PolicyModule:
    losses = {"action": ActionNLL(2), "return": ReturnExpectile(expectile=0.99)}
    return PolicyModule(policy=policy, return_model=None, losses=losses, optimizer=OPTIMIZER, spec=SPEC, seed=0)


@torch.no_grad()
def test_the_outputs_are_the_references(record):
    batch = _batch(record, 0)
    output = _policy(record)(batch.states, batch.actions, batch.returns_to_go, batch.timesteps)
    torch.testing.assert_close(output.predicted_return, record["predicted_return"], **TOLERANCE)
    torch.testing.assert_close(output.action, record["mean"], **TOLERANCE)
    torch.testing.assert_close(output.distribution.mean, record["mean"], **TOLERANCE)
    torch.testing.assert_close(output.distribution.stddev, record["std"], **TOLERANCE)


def test_three_steps_of_its_trainer_end_in_its_weights_where_log_std_is_a_parameter(record):
    # Its log_std is a LAMB parameter; OptimizerSettings refuses that (it never moves at the real learning rate), so
    # here LAMB is given every parameter by hand. Its gradient is part of the clipped norm, too.
    policy = _policy(record, learn_std=True)
    module = _module(policy)
    optimizer = Lamb(policy.parameters(), lr=OPTIMIZER.learning_rate, weight_decay=OPTIMIZER.weight_decay)
    temperature = torch.optim.Adam(module.terms.parameters(), lr=1e-4)
    for step in range(N_STEPS):
        optimizer.param_groups[0]["lr"] = OPTIMIZER.learning_rate * min((step + 1) / 2, 1)
        loss, logged = module.objective(_batch(record, step))
        # The logged sum holds our temperature term, whose gradient the policy never sees; theirs is a separate loss.
        temperature_term = logged["action/temperature"] * (logged["action/entropy"] + 2)
        torch.testing.assert_close(logged["loss"] - temperature_term, record["trained/losses"][step], **TOLERANCE)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(policy.parameters(), OPTIMIZER.gradient_clip)
        for each in (optimizer, temperature):
            each.step()
            each.zero_grad()
    expected = _ours(_unpack(record["trained/weights"], _start(record)))
    for name, value in expected.items():
        if name.endswith(".key.bias"):  # adds the same to every score of a query: its gradient is 0, its update noise
            continue
        torch.testing.assert_close(policy.state_dict()[name], value, **TOLERANCE, msg=lambda m, n=name: f"{n}: {m}")
    assert (expected["head.log_std"] != 0).all()
    log_temperature = module.terms["action"].bonus.log_temperature
    torch.testing.assert_close(log_temperature.double(), record["trained/log_temperature"], rtol=0, atol=1e-6)


def test_the_trainers_own_steps_end_in_its_weights_where_log_std_is_held(record):
    # Ours is a buffer of zeros; the reference was recorded once more with log_std.requires_grad_(False).
    policy = _policy(record)
    module = _module(policy)
    trainer = Trainer(
        max_epochs=1,
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    batches = [_batch(record, step) for step in range(N_STEPS)]
    trainer.fit(module, DataLoader(batches, batch_size=None))
    expected = _unpack(record["fixed_std/weights"], {name: _start(record)[name] for name in SPOT_CHECKS})
    ours = policy.state_dict()
    pairs = {
        "embed_state.weight": ours["model.embed_state.weight"],
        "transformer.0.attention.q_net.weight": ours["model.transformer.blocks.0.query.weight"],
        "transformer.1.ln2.bias": ours["model.transformer.blocks.1.norm_mlp.bias"],
        "predict_rtg.weight": ours["return_head.weight"],
        "predict_action.mu.weight": ours["head.mean.linear.weight"],
    }
    for name, value in pairs.items():
        assert not torch.allclose(value, _start(record)[name], rtol=0, atol=1e-3), f"{name} has hardly moved"
        torch.testing.assert_close(value, expected[name], **TOLERANCE, msg=lambda m, n=name: f"{n}: {m}")
    assert torch.equal(ours["head.log_std"], torch.zeros(2))
    log_temperature = module.terms["action"].bonus.log_temperature
    torch.testing.assert_close(log_temperature.double(), record["fixed_std/log_temperature"], rtol=0, atol=1e-6)


@torch.no_grad()
def test_one_pass_acts_as_its_two_pass_evaluation(record):
    policy = _policy(record).eval()
    states, actions, returns = (record[f"episode/{name}"] for name in ("states", "actions", "returns_to_go"))
    for t in range(TABLE):
        steps = torch.arange(max(0, t - K + 1), t + 1)
        window = Window(*(torch.full((1, K, dim), 7.0) for dim in (3, 2, 1)), torch.zeros(1, K, dtype=torch.long), None)
        n = len(steps)
        window = window._replace(lengths=torch.tensor([n]))
        window.states[0, :n], window.timesteps[0, :n] = states[steps], steps
        window.actions[0, : n - 1], window.returns_to_go[0, : n - 1] = actions[steps[:-1]], returns[steps[:-1]]
        predicted, action = policy.predict_return_and_act(window)
        torch.testing.assert_close(predicted[0], returns[t], **TOLERANCE)
        torch.testing.assert_close(action[0], actions[t], **TOLERANCE)
