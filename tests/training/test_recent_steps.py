"""The newest collected steps as a source: which they are, how they are cut, and what is estimated of them."""

from __future__ import annotations

import pytest
import torch

from dtag.critic.bellman import BellmanCritic
from dtag.critic.state_value import StateValue
from dtag.critic.target_rules import TargetPolicy
from dtag.data.replay_buffer import ReplayBuffer
from dtag.errors import UsageError
from dtag.losses.action_nll import ActionNLL
from dtag.losses.awr import AWR
from dtag.losses.ppo import PPO
from dtag.policy.decision_transformer import DecisionTransformer
from dtag.training.optimizers import OptimizerSettings
from dtag.training.policy_module import PolicyModule
from dtag.training.recent_steps import RecentSteps, recent_steps
from dtag.training.settings import OnlineSettings
from tests.data.example_episodes import A, S, episodes, spec
from tests.reference.returns import lambda_return

K = 4
OFFLINE, LENGTHS, ENDINGS = [6, 7], [5, 1, 8, 3, 2, 6], "tltltl"


def module(losses=None, head: str = "squashed", critic=None) -> PolicyModule:
    torch.manual_seed(0)
    policy = DecisionTransformer(
        S, (-1.0,) * A, (1.0,) * A, 20, hidden=8, n_layers=2, n_heads=2, token_order="rsa", head=head,
        residual_dropout=0.5, embedding_dropout=0.5,
    )  # fmt: skip
    if head == "squashed":
        torch.nn.init.constant_(policy.head.log_std.bias, 0.5)  # std about 1: a small one multiplies rounding
    return PolicyModule(
        policy=policy,
        return_model=None,
        losses=losses or {"ppo": PPO()},
        optimizer=OptimizerSettings(),
        spec=spec(),
        seed=0,
        critic=critic or StateValue(S, hidden=(8,), discount=0.9, trace_decay=0.7),
        policy_delay=1,
    )


def source(n_steps: int = 0, capacity: int = 20) -> RecentSteps:
    """A buffer of two offline episodes and six collected ones."""
    buffer = ReplayBuffer(capacity, spec(), room=9 * capacity, context_length=K)
    buffer.add(episodes(OFFLINE, "tl", seed=1))
    made = RecentSteps(buffer, n_steps=n_steps)
    buffer.add(episodes(LENGTHS, ENDINGS))
    return made


def begin(recent: RecentSteps, own: PolicyModule | None = None, n_new: int = 6, seed: int = 0) -> None:
    recent.begin_round((own or module()).eval(), n_new, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("seed", range(5))
def test_every_step_of_the_round_lies_in_exactly_one_segment(seed):
    recent = source()
    begin(recent, seed=seed)
    batch = recent.gather(torch.arange(len(recent.slots)))
    rows = batch.rows[batch.mask].tolist()
    begins = recent.buffer.begins.tolist()
    expected = [begins[2 + episode] + step for episode, length in enumerate(LENGTHS) for step in range(length)]
    assert sorted(rows) == expected
    assert recent.n_held == sum(LENGTHS)


def test_episodes_are_cut_anew_every_round():
    recent = source()
    cuts = set()
    for seed in range(8):
        begin(recent, seed=seed)
        cuts.add(tuple(recent.starts.tolist()))
    assert len(cuts) > 4
    assert recent.round == 7


@pytest.mark.parametrize("n_new", [1, 2, 6])
@pytest.mark.parametrize("n_steps", [0, 6, 8, 11, 1000])
@pytest.mark.parametrize("capacity", [20, 3])
def test_it_holds_the_round_and_older_ones_while_there_is_room(n_new, n_steps, capacity):
    recent = source(n_steps, capacity)
    begin(recent, n_new=n_new)
    held: list[int] = []
    for index in range(5, -1, -1):  # newest first
        if len(held) == capacity or (len(held) >= n_new and sum(LENGTHS[i] for i in [*held, index]) > n_steps):
            break
        held.append(index)
    assert set(recent.slots.tolist()) == {(2 + index) % capacity for index in held}


@pytest.mark.parametrize("n_new", [2, 6])
def test_advantages_and_targets_are_those_of_whole_episodes(n_new):
    recent, own = source(), module()
    begin(recent, own, n_new)
    buffer = recent.buffer
    batch = recent.gather(torch.arange(len(recent.slots)))
    for b, (slot, start) in enumerate(zip(recent.slots.tolist(), recent.starts.tolist(), strict=True)):
        length = int(buffer.lengths[slot])
        rows = buffer.rows_of(torch.tensor([slot]))
        values = own.critic.value(buffer.states[rows]).tolist()
        episode = buffer.rewards[rows[:length]].tolist(), values, bool(buffer.terminated[rows[length - 1]])
        for k in range(K):
            target = lambda_return(*episode, start + k, 0.9, 0.7) if batch.mask[b, k] else 0.0
            value = values[start + k] if batch.mask[b, k] else 0.0
            assert batch.collected.value_targets[b, k].item() == pytest.approx(target, rel=1e-4, abs=1e-5)
            assert batch.collected.advantages[b, k].item() == pytest.approx(target - value, rel=1e-4, abs=1e-5)


def test_the_ratio_is_one_until_the_policy_moves_though_it_trains_with_dropout():
    recent, own = source(), module()
    begin(recent, own)
    own.train()
    batch = recent.gather(torch.arange(len(recent.slots)))
    batch = batch._replace(recent=batch)
    for _ in range(2):
        _, logged = own.objective(batch)
        assert logged["ppo/ratio"].item() == 1.0
        assert logged["ppo/kl"].item() == 0.0
    small = recent.sample(3, torch.Generator().manual_seed(0))  # other shapes round otherwise
    _, logged = own.objective(small._replace(recent=small))
    assert logged["ppo/ratio"].item() == pytest.approx(1.0, abs=1e-5)
    with torch.no_grad():
        next(own.policy.head.parameters()).add_(0.1)
    assert own.objective(batch)[1]["ppo/kl"].item() != 0.0


def test_likelihoods_are_asked_for_only_where_a_term_reads_them():
    recent = source()
    begin(recent, module({"awr": AWR()}))
    assert not recent.log_prob.any()
    begin(recent, module({"awr": AWR(), "ppo": PPO()}))
    assert recent.log_prob.any()


def test_each_term_learns_from_its_own_source():
    recent, own = source(), module({"action": ActionNLL(A, entropy=False), "ppo": PPO()})
    begin(recent, own)
    generator = torch.Generator().manual_seed(0)
    replay, segments = recent.buffer.sample(5, generator), recent.sample(5, generator)
    own.eval()
    both = own.objective(replay._replace(recent=segments))[1]
    assert both["action"].item() == own.losses["action"](replay, own(replay), None)[0].item()
    assert both["ppo"].item() == own.losses["ppo"](segments, own(segments), None)[0].item()
    with pytest.raises(UsageError, match="dtag finetune"):
        own.objective(replay)


def test_what_is_saved_is_what_comes_back():
    before, after = source(1000), source(1000)
    begin(before)
    after.load_state_dict(before.state_dict())
    drawn = [of.sample(16, torch.Generator().manual_seed(1)) for of in (before, after)]
    assert torch.equal(drawn[0].rows, drawn[1].rows)
    for mine, other in zip(drawn[0].collected, drawn[1].collected, strict=True):
        assert torch.equal(mine, other)


def test_parts_of_a_batch_keep_both_sources():
    recent = source()
    begin(recent)
    batch = recent.sample(6, torch.Generator().manual_seed(0))
    whole = batch._replace(recent=batch)
    parts = list(whole.split(2))
    assert torch.equal(torch.cat([part.recent.collected.advantages for part in parts]), batch.collected.advantages)
    assert torch.equal(torch.cat([part.recent.states for part in parts]), batch.states)


def test_what_it_lacks_is_named():
    buffer = source().buffer
    assert recent_steps(buffer, module({"action": ActionNLL(A)}, critic=bellman()), OnlineSettings()) is None
    with pytest.raises(UsageError, match="StateValue"):
        recent_steps(buffer, module(critic=bellman()), OnlineSettings())
    for settings in (OnlineSettings(exploration="noise"), OnlineSettings(exploration="sample", refine=True)):
        with pytest.raises(UsageError, match="exploration=sample"):
            recent_steps(buffer, module(), settings)
    assert recent_steps(buffer, module(), OnlineSettings(exploration="sample")) is not None
    assert recent_steps(buffer, module({"awr": AWR()}), OnlineSettings(exploration="noise")) is not None
    with pytest.raises(ValueError, match="head="):
        begin(source(), module(head="deterministic"))


def bellman() -> BellmanCritic:
    return BellmanCritic(S, (-1.0,) * A, (1.0,) * A, rule=TargetPolicy(), hidden=(8,))
