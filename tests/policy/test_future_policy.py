from __future__ import annotations

import math

import pytest
import torch

from dtag.errors import UsageError
from dtag.policy.diagonal_gaussian import DiagonalGaussian
from dtag.policy.sequence_model import Window
from tests.policy.example_future import N, Z, batch, make
from tests.reference.naive_transformer import encode, linear

EXACT = {"rtol": 1e-10, "atol": 1e-10}
LENGTHS, K, F = [1, 3, 4, 6, 9], 4, 5


def relu(x: torch.Tensor) -> torch.Tensor:
    return torch.tensor([max(value, 0.0) for value in x.tolist()], dtype=x.dtype)


def gaussian(features: torch.Tensor, weights, name: str) -> tuple[torch.Tensor, torch.Tensor]:
    mean, log_std = linear(features, weights, f"{name}.mean"), linear(features, weights, f"{name}.log_std")
    return mean, torch.tensor([math.exp(min(max(x, -10.0), 2.0)) for x in log_std.tolist()], dtype=mean.dtype)


def all_steps(given, row: int, length: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The valid states and actions of a row, the future's behind the segment's."""
    pairs = ((given.states, given.future.states), (given.actions, given.future.actions))
    states, actions = (torch.cat([a[row], b[row]])[:length] for a, b in pairs)
    return states, actions


def test_the_posterior_equals_a_naive_transformer_over_the_steps_in_reverse():
    policy, given = make(), batch(LENGTHS, K, F)
    found = policy.posterior(given)
    weights = policy.future.model.state_dict()
    for row, length in enumerate(LENGTHS):
        states, actions = all_steps(given, row, length)
        features = encode(weights, states.flip(0), actions.flip(0), states, torch.zeros(length), order="sa",
                          n_layers=2, n_heads=2, norm="pre", activation="relu")  # fmt: skip
        for step in range(min(length, K)):
            mean, std = gaussian(features[length - 1 - step]["action"], policy.state_dict(), "future.head")
            torch.testing.assert_close(found.loc[row, step], mean, **EXACT)
            torch.testing.assert_close(found.scale[row, step], std, **EXACT)


def test_a_latent_sees_its_own_step_and_all_behind_it_and_nothing_before():
    policy, given = make(), batch([9], K, F)
    before = policy.posterior(given).loc[0]

    def moved(**changes) -> list[bool]:
        return (policy.posterior(given._replace(**changes)).loc[0] != before).any(-1).tolist()

    for step in range(K):
        states, actions = given.states.clone(), given.actions.clone()
        states[0, step] += 1
        actions[0, step] += 1
        for changes in ({"states": states}, {"actions": actions}):
            assert moved(**changes) == [t <= step for t in range(K)]
    for step in range(F):
        states = given.future.states.clone()
        states[0, step] += 1
        assert moved(future=given.future._replace(states=states)) == [True] * K


def test_padding_never_changes_what_is_learnt():
    policy, outputs = make(), []
    for garbage in (0.0, 1e6):
        given = batch(LENGTHS, K, F, garbage=garbage)
        torch.manual_seed(0)
        outputs.append(policy.learn(given))
    mask = given.mask
    for of in (
        lambda output: output.action,
        lambda output: output.latent.posterior.loc,
        lambda output: output.latent.posterior.scale,
        lambda output: output.latent.prior.loc,
        lambda output: output.latent.predicted_return.loc,
    ):
        torch.testing.assert_close(*(of(output)[mask] for output in outputs), **EXACT)


def test_actions_are_predicted_from_the_posteriors_sample_which_is_zero_at_padding():
    policy, given = make(), batch(LENGTHS, K, F)
    seen = []
    policy.model.embed_return.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    torch.manual_seed(3)
    output = policy.learn(given)
    torch.manual_seed(3)
    latents = policy.posterior(given).rsample()
    assert all(torch.equal(one[given.mask], latents[given.mask]) for one in seen)
    assert all(not one[~given.mask].any() for one in seen)
    assert len(seen) == 2  # the policy's and the return model's
    torch.testing.assert_close(output.action, policy(given.states, given.actions, seen[0], given.timesteps).action)


def test_prior_and_return_equal_their_equations():
    policy, given = make(), batch([4, 2], K, F)
    latents = torch.randn(2, K, Z, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    prior, returns, weights = policy.prior(given.states), policy.return_of(given.states, latents), policy.state_dict()
    for row, step in ((0, 0), (0, 3), (1, 1)):
        state = linear(given.states[row, step], weights, "model.embed_state")
        latent = linear(latents[row, step], weights, "model.embed_return")
        for found, expected in (
            (prior, gaussian(relu(state), weights, "prior_head")),
            (returns, gaussian(torch.cat([relu(state), relu(latent)]), weights, "return_head")),
        ):
            torch.testing.assert_close(found.loc[row, step], expected[0], **EXACT)
            torch.testing.assert_close(found.scale[row, step], expected[1], **EXACT)


def window(policy, noise: torch.Tensor | None, lengths: list[int]) -> Window:
    given = batch(lengths, K, 0, seed=4)
    latents = torch.randn(len(lengths), K, Z, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    return Window(given.states, given.actions, latents, given.timesteps, torch.tensor(lengths), None, noise)


@pytest.mark.parametrize("n", [1, N])
def test_acting_one_step_equals_the_batch_forward_given_the_latent_chosen(n):
    policy, lengths = make(), [1, 4, 3]
    noise = torch.randn(3, n, Z, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    given = window(policy, noise, lengths)
    latents, actions = policy.predict_return_and_act(given)
    filled = given.returns_to_go.clone()
    for row, length in enumerate(lengths):
        filled[row, length - 1] = latents[row]
    expected = policy(given.states, given.actions, filled, given.timesteps).action
    for row, length in enumerate(lengths):
        torch.testing.assert_close(actions[row], expected[row, length - 1], **EXACT)


def test_of_several_draws_the_one_of_highest_predicted_return_is_chosen():
    policy, lengths = make(), [1, 4, 3]
    noise = torch.randn(3, N, Z, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    given = window(policy, noise, lengths)
    latents, _ = policy.predict_return_and_act(given)
    for row, length in enumerate(lengths):
        state = given.states[row, length - 1]
        prior = policy.prior(state)
        drawn = [prior.loc + prior.scale * one for one in noise[row]]
        promised = [policy.return_of(state, one).loc.item() for one in drawn]
        torch.testing.assert_close(latents[row], drawn[promised.index(max(promised))], **EXACT)
    mean, _ = policy.predict_return_and_act(given._replace(latent_noise=None))
    torch.testing.assert_close(mean[0], policy.prior(given.states[0, 0]).loc, **EXACT)


def test_it_draws_once_until_it_knows_returns():
    policy = make()
    assert policy.latent_noise_shape == (1, Z)
    policy.knows_return.fill_(True)
    assert policy.latent_noise_shape == (N, Z)
    assert make().load_state_dict(policy.state_dict()).missing_keys == []


def test_every_parameter_but_the_return_models_learns_before_fine_tuning():
    policy, given = make(), batch(LENGTHS, K, F)
    output = policy.learn(given)
    latent = output.latent
    parts = (output.distribution.log_prob(given.actions.clamp(-0.9, 0.9)), latent.posterior.loc, latent.posterior.scale,
             latent.prior.loc, latent.prior.scale)  # fmt: skip
    sum(part.sum() for part in parts).backward()
    without = {name for name, p in policy.named_parameters() if p.grad is None}
    assert without == {name for name, _ in policy.named_parameters() if name.startswith("return_head")}


def test_a_batch_without_a_future_is_a_clear_error():
    with pytest.raises(UsageError, match=r"data\.future_steps"):
        make().learn(batch([4], K, F)._replace(future=None))


def test_the_actions_loss_teaches_the_future_encoder_through_its_sample():
    policy, given = make(), batch(LENGTHS, K, F)
    torch.manual_seed(0)
    output = policy.learn(given)
    loss = (output.action - given.actions)[given.mask].square().mean()
    gradients = torch.autograd.grad(loss, list(policy.future.parameters()), allow_unused=True)
    assert max(g.abs().max().item() for g in gradients if g is not None) > 0


def test_the_return_model_learns_in_its_warm_up_alone():
    """PDT: until fine-tuning nothing of it moves, not even by weight decay."""
    assert not any(parameter.requires_grad for parameter in make().return_head.parameters())


def test_a_std_stays_between_its_bounds():
    gaussian = DiagonalGaussian(1, 2)
    torch.nn.init.constant_(gaussian.log_std.weight, 1.0)
    found = gaussian(torch.tensor([[-50.0], [0.5], [50.0]])).scale
    torch.testing.assert_close(found, torch.tensor([[-10.0] * 2, [0.5] * 2, [2.0] * 2]).exp())
