"""The shifted context of a critic that learns along, against an explicit re-encode of the window one step later."""

from __future__ import annotations

import pytest
import torch

from dtag.critic.bellman import BellmanCritic
from dtag.critic.target_rules import TargetPolicy
from dtag.data.segments import SegmentSampler
from dtag.errors import UsageError
from dtag.policy.decision_transformer import DecisionTransformer
from dtag.policy.mlp_policy import MLPPolicy
from dtag.training.segment_actor import SegmentActor
from tests.data.example_episodes import A, S, episodes, spec

LENGTHS, ENDINGS = [6, 3, 8], "tlt"


def sampler(k: int, **options) -> SegmentSampler:
    return SegmentSampler(
        episodes(LENGTHS, ENDINGS, **options),
        spec(),
        context_length=k,
        weighting="length",
        start="anywhere",
        look_ahead=True,
    )


def policy(head: str = "deterministic", **options) -> DecisionTransformer:
    torch.manual_seed(len(head))
    return DecisionTransformer(
        S, (-1.0,) * A, (1.0,) * A, 20, hidden=8, n_layers=2, n_heads=2, token_order="rsa", head=head, **options
    )


@pytest.mark.parametrize("order", ["rsa", "sra", "ja"])
def test_each_position_equals_a_window_that_starts_one_step_later(order):
    """Position t of the shifted pass sees steps 2..t+1; the explicit window is gathered there, with t+1's own action unread."""
    k, of, network = 4, sampler(4), policy()
    network = DecisionTransformer(
        S, (-1.0,) * A, (1.0,) * A, 20, hidden=8, n_layers=2, n_heads=2, token_order=order, head="deterministic"
    ).eval()
    longer = sampler(9)  # whole episodes from a start on
    for episode, length in enumerate(LENGTHS):
        for start in range(length - 1):
            at = torch.tensor([episode]), torch.tensor([start])
            batch = of.gather(*at)
            actor = SegmentActor(network, network, batch)
            found = actor.next_action(target=True)
            after = longer.gather(at[0], at[1] + 1)  # begins one step later
            n_valid = int(batch.mask.sum())
            rows = found[: min(n_valid, length - start - 1)]  # those whose next step lies within the episode
            for t in range(len(rows)):
                part = slice(0, t + 1)
                inputs = [x[:, part] for x in (after.states, after.actions, after.returns_to_go, after.timesteps)]
                torch.testing.assert_close(rows[t], network(*inputs).action[0, t].detach(), rtol=1e-5, atol=1e-6)
    assert k == 4


def test_a_truncated_step_bootstraps_from_its_true_last_state_and_a_terminated_one_says_so():
    data = episodes(LENGTHS, ENDINGS)
    batch = sampler(8).gather(torch.tensor([0, 1]), torch.tensor([0, 0]))
    transitions = SegmentActor(policy(), policy(), batch).transitions()
    assert len(transitions.rewards) == 6 + 3
    last = torch.from_numpy(spec().normalize(data.final_states[1]))
    torch.testing.assert_close(transitions.next_states[-1], last)
    assert transitions.terminated.tolist() == [0.0] * 5 + [1.0] + [0.0] * 3


def test_a_step_without_a_known_next_state_teaches_nothing():
    batch = sampler(8, next_states=False).gather(torch.tensor([0, 1]), torch.tensor([0, 0]))
    actor = SegmentActor(policy(), policy(), batch)
    assert len(actor.transitions().rewards) == 6 + 2  # the terminated end of the first stays, the truncated one goes
    assert len(actor.next_action(target=True)) == 6 + 2


def test_what_lies_in_padding_teaches_the_critic_nothing():
    network, batch = policy().eval(), sampler(5).sample(12, torch.Generator().manual_seed(0))
    assert not batch.mask.all()
    pad = ~batch.mask
    dirty = batch._replace(
        states=batch.states + 9.0 * pad[..., None],
        actions=batch.actions + 9.0 * pad[..., None],
        following=batch.following._replace(
            states=batch.following.states + 9.0 * pad[..., None],
            rewards=batch.following.rewards + 9.0 * pad,
            returns_to_go=batch.following.returns_to_go + 9.0 * pad[..., None],
        ),
    )
    torch.manual_seed(0)
    critic = BellmanCritic(S, (-1.0,) * A, (1.0,) * A, rule=TargetPolicy(noise=0.0), hidden=(8,))
    losses = []
    for own in (batch, dirty):
        actor = SegmentActor(network, network, own)
        losses.append(critic.loss(actor.transitions(), actor)[0].item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


def test_target_and_policy_are_told_apart_asked_without_dropout_and_without_gradient():
    online, target = policy(residual_dropout=0.5).train(), policy("gaussian", residual_dropout=0.5).train()
    batch = sampler(4).sample(5, torch.Generator().manual_seed(0))
    actor = SegmentActor(online, target, batch)
    first, second = actor.next_action(target=False), actor.next_action(target=False)
    assert torch.equal(first, second)
    assert not first.requires_grad
    assert online.training
    assert target.training
    following, known = batch.following, batch.following.known
    actions = torch.cat([batch.actions[:, 1:], torch.zeros_like(batch.actions[:, :1])], dim=1)
    for network, found in ((online, first), (target, actor.next_action(target=True))):
        said = network.eval()(following.states, actions, following.returns_to_go, following.timesteps).action
        assert torch.equal(found, said[known])


@pytest.mark.parametrize("head", ["gaussian", "squashed"])
def test_samples_are_the_policys_of_known_steps_with_their_log_probability(head):
    torch.manual_seed(0)
    network, target = (MLPPolicy(S, (-1.0,) * A, (1.0,) * A, hidden=8, head=head).eval() for _ in range(2))
    batch = sampler(4).sample(6, torch.Generator().manual_seed(0))
    known = batch.following.known
    assert not known.all()
    actor = SegmentActor(network, target, batch)
    for actions, log_prob, states in (
        (*actor.sample(3), batch.states),
        (*actor.next_sample(3), batch.following.states),
    ):
        assert actions.shape == (3, int(known.sum()), A)
        distribution = network(states[known].unsqueeze(1), None, None, None).distribution
        expected = distribution.log_prob(actions.unsqueeze(2)).sum(-1)[..., 0]
        torch.testing.assert_close(log_prob, expected.detach(), rtol=1e-4, atol=1e-4)


def test_what_it_lacks_is_named():
    batch = sampler(2).sample(2, torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match="look ahead"):
        SegmentActor(policy(), policy(), batch._replace(following=None))
    with pytest.raises(UsageError, match="head="):
        SegmentActor(policy(), policy(), batch).sample(1)
