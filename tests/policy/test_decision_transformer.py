from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dtag.data.segments import SegmentBatch
from dtag.losses.action_mse import ActionMSE
from dtag.losses.action_nll import ActionNLL
from dtag.losses.return_expectile import ReturnExpectile
from dtag.policy.decision_transformer import DecisionTransformer
from dtag.policy.output import PolicyOutput
from dtag.policy.return_model import ReturnTransformer
from tests.policy.example_segments import QUIET, SMALL, TABLE, A, S, randomized, segments, window, with_garbage

EXACT = {"rtol": 1e-10, "atol": 1e-10}
BOUNDS = ((-1.0,) * A, (1.0,) * A)
KINDS = {
    "dt": {"token_order": "rsa", "norm": "pre", "head": "deterministic", "activation": "relu"},
    "odt": {"token_order": "rsa", "norm": "pre", "head": "squashed", "time_embedding": "none"},
    "adt": {"token_order": "ja", "norm": "pre", "head": "deterministic"},
    "rf": {"predicts_return": True},
    "rf, two networks": {},
    "rf, pre-norm": {"predicts_return": True, "norm": "pre", "time_embedding": "none"},
}


def make(kind: str, **options) -> DecisionTransformer:
    return DecisionTransformer(S, *BOUNDS, TABLE, **{**SMALL, **QUIET, **KINDS[kind], **options})


def outputs(policy: DecisionTransformer, inputs: list[Tensor]) -> dict[str, Tensor]:
    output = policy(*inputs)
    found = {"action": output.action}
    return found if output.predicted_return is None else {**found, "return": output.predicted_return}


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_what_is_predicted_at_a_step_depends_on_what_is_known_there_and_on_nothing_later(kind):
    policy, inputs, n_steps = randomized(make(kind)), segments(2, 5), 5
    clean = outputs(policy, inputs)
    # The first step at which each prediction may depend on s_t, a_t, R_t.
    first = {"action": (0, 1, 0), "return": (0, 1, 1)}
    for t in range(n_steps):
        for position in range(3):
            dirty = [x.clone() for x in inputs]
            dirty[position][:, t] += 1
            for name, value in outputs(policy, dirty).items():
                start = t + first[name][position]
                torch.testing.assert_close(value[:, :start], clean[name][:, :start], **EXACT)
                changed = ((value - clean[name]).abs() > 1e-7).flatten(2).any(-1)
                assert changed[:, start:].all(), (name, position, t)


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_padding_changes_no_valid_prediction(kind):
    policy, inputs = randomized(make(kind)), segments(5, 5)
    lengths = torch.arange(1, 6)
    valid, dirty = torch.arange(5) < lengths[:, None], with_garbage(inputs, lengths)
    clean, other = outputs(policy, inputs), outputs(policy, dirty)
    for name, value in clean.items():
        torch.testing.assert_close(other[name][valid], value[valid], **EXACT)
    torch.testing.assert_close(policy.act(window(dirty, lengths)), policy.act(window(inputs, lengths)), **EXACT)
    if policy.predicts_return:
        pairs = zip(*(policy.predict_return_and_act(window(x, lengths)) for x in (dirty, inputs)), strict=True)
        for pair in pairs:
            torch.testing.assert_close(*pair, **EXACT)


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_acting_equals_the_newest_valid_step_of_forward(kind):
    policy = randomized(make(kind))
    for n_steps in (1, 2, 6):
        inputs = segments(2 * n_steps, n_steps)
        lengths = torch.arange(1, n_steps + 1).repeat(2)
        expected = policy(*inputs).action[torch.arange(2 * n_steps), lengths - 1]
        torch.testing.assert_close(policy.act(window(inputs, lengths)), expected, **EXACT)


@pytest.mark.parametrize("kind", ["rf", "rf, pre-norm"])
@torch.no_grad()
def test_predicting_and_acting_in_one_pass_equals_two(kind):
    policy = randomized(make(kind))
    for n_steps in (1, 2, 6):
        inputs, rows = segments(2 * n_steps, n_steps), torch.arange(2 * n_steps)
        inputs[3] += 3  # some rows reach beyond the time table
        lengths = torch.arange(1, n_steps + 1).repeat(2)
        states, actions, returns, timesteps = inputs
        predicted, action = policy.predict_return_and_act(window(inputs, lengths))
        returns = returns.clone()
        returns[rows, lengths - 1] = 0.0
        first = policy(states, actions, returns, timesteps).predicted_return[rows, lengths - 1]
        returns[rows, lengths - 1] = first
        torch.testing.assert_close(predicted, first, **EXACT)
        torch.testing.assert_close(
            action, policy(states, actions, returns, timesteps).action[rows, lengths - 1], **EXACT
        )
        torch.testing.assert_close(action, policy.act(window([states, actions, returns, timesteps], lengths)), **EXACT)


@pytest.mark.parametrize("kind", ["rf", "rf, pre-norm"])
@torch.no_grad()
def test_a_sample_behind_the_predicted_return_is_of_the_same_distribution(kind):
    """Noise 0 is the mean; noise z lies z of its std away, as acting with the return given has it."""
    policy, inputs, lengths = randomized(make(kind)), segments(6, 3), torch.tensor([1, 2, 3, 1, 2, 3])
    noise = torch.randn(6, A, dtype=torch.float64)
    sampled, mean = (window(inputs, lengths)._replace(noise=z) for z in (noise, None))
    predicted, action = policy.predict_return_and_act(sampled)
    inputs[2][torch.arange(6), lengths - 1] = predicted
    torch.testing.assert_close(action, policy.act(sampled._replace(returns_to_go=inputs[2])), **EXACT)
    assert (action != policy.predict_return_and_act(mean)[1]).all()


def _dead_parameters(networks: list[torch.nn.Module], batch: SegmentBatch, terms: list) -> set[str]:
    """Names of the parameters that one step on the terms' sum does not move."""
    policy, *others = networks
    inputs = (batch.states, batch.actions, batch.returns_to_go, batch.timesteps)
    output: PolicyOutput = policy(*inputs)
    if others:
        output = output._replace(predicted_return=others[0](*inputs))
    sum(term(batch, output)[0] for term in terms).backward()
    # A key's bias adds the same to all scores of a query: softmax does not see it, in any transformer.
    named = [
        (f"{i}.{n}", p) for i, net in enumerate(networks) for n, p in net.named_parameters() if "key.bias" not in n
    ]
    return {name for name, p in named if p.grad is None or p.grad.abs().max() < 1e-12}


def _batch(n_steps: int) -> SegmentBatch:
    states, actions, returns, timesteps = segments(4, n_steps)
    mask = torch.ones(4, n_steps, dtype=torch.bool)
    mask[0, 1:] = False
    return SegmentBatch(states, actions, returns, timesteps, mask, timesteps)


@pytest.mark.parametrize("n_steps", [1, 2, 4])
@pytest.mark.parametrize("kind", ["dt", "rf", "rf, two networks"])
def test_every_parameter_moves_in_one_step(kind, n_steps):
    policy = randomized(make(kind)).train()
    networks, terms = [policy], [ActionMSE()] if kind == "dt" else [ActionNLL(A), ReturnExpectile()]
    if kind == "rf, two networks":
        networks.append(randomized(ReturnTransformer(S, A, TABLE, **SMALL, **QUIET)).train())
    dead = _dead_parameters(networks, _batch(n_steps), terms)
    expected: set[str] = set()
    if n_steps == 1:  # no past action to embed; a return network sees the state token alone, so nothing to weigh
        expected = {f"{i}.model.embed_action.{kind}" for i in range(len(networks)) for kind in ("weight", "bias")}
    if n_steps == 1 and kind == "rf, two networks":
        expected |= {f"1.model.embed_return.{kind}" for kind in ("weight", "bias")}
        blocks = [f"1.model.transformer.blocks.{i}" for i in range(2)]
        expected |= {f"{block}.{part}" for block in blocks for part in ("query.weight", "query.bias", "key.weight")}
    assert dead == expected


def test_a_learned_std_moves_too():
    policy = randomized(make("rf", learn_std=True)).train()
    assert _dead_parameters([policy], _batch(3), [ActionNLL(A), ReturnExpectile()]) == set()


def test_dropout_acts_in_training_only():
    inputs = segments(3, 4)
    for name in ("embedding_dropout", "attention_dropout", "residual_dropout"):
        for place in ("weights", "output"):
            torch.manual_seed(0)
            policy = randomized(make("rf", **{name: 0.5}, attention_dropout_on=place))
            quiet = randomized(make("rf"))
            quiet.load_state_dict(policy.state_dict())
            assert torch.equal(policy(*inputs).action, quiet(*inputs).action)
            policy.train()
            assert not torch.allclose(policy(*inputs).action, policy(*inputs).action)


def test_predicting_the_return_after_having_seen_it_is_refused():
    with pytest.raises(ValueError, match="token_order='sra'"):
        make("dt", predicts_return=True)


def test_the_output_says_what_the_policy_offers():
    inputs = segments(2, 3)
    deterministic, single, pair = (randomized(make(kind))(*inputs) for kind in ("dt", "rf", "rf, two networks"))
    assert deterministic.distribution is None
    assert deterministic.predicted_return is pair.predicted_return is None
    assert single.predicted_return.shape == (2, 3, 1)
    assert torch.equal(single.distribution.mean, single.action)
    assert single.action.shape == pair.action.shape == (2, 3, A)
