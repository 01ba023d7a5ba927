from __future__ import annotations

import numpy as np
import pytest
import torch

from dtag.data.replay_buffer import ReplayBuffer
from dtag.data.segments import SegmentSampler
from dtag.data.trajectories import Trajectories
from dtag.errors import DataError
from tests.data.example_episodes import episodes, spec
from tests.reference.naive_episodes import following, segment, split

LENGTHS, ENDINGS = [5, 1, 8, 3, 2, 6], "tltltl"


def buffer(capacity: int = 6, *, k: int = 4, room: int = 40, data_spec=None) -> ReplayBuffer:
    return ReplayBuffer(capacity, data_spec or spec(), room=room, context_length=k)


@pytest.mark.parametrize("shaped", [False, True])
@pytest.mark.parametrize("next_states", [True, False])
@pytest.mark.parametrize("room", [1, 31, 100])
@pytest.mark.parametrize("k", [1, 3, 10])
def test_every_segment_and_what_follows_it_equals_the_naive_loop(k, room, next_states, shaped):
    data = episodes(LENGTHS, ENDINGS, next_states=next_states)
    own = spec(reward_scale=3.0, reward_shift=-1.0, shaped_returns=shaped)
    ours = buffer(k=k, room=room, data_spec=own)
    ours.add(data)
    np.testing.assert_allclose(ours.returns().numpy(), data.returns, rtol=1e-4, atol=1e-4)  # raw whatever is counted
    for e, episode in enumerate(split(data)):
        starts = torch.arange(LENGTHS[e])
        batch = ours.gather(torch.full_like(starts, e), starts)
        for start in starts.tolist():
            for name, expected in segment(episode, start, k, own).items():
                if name != "rows":
                    found = getattr(batch, name)[start].numpy()
                    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5, err_msg=name)
            for name, expected in following(episode, start, k, own).items():
                found = getattr(batch.following, name)[start].numpy()
                np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5, err_msg=name)


def test_it_draws_what_a_sampler_of_the_same_data_draws_by_length():
    data = episodes(LENGTHS, ENDINGS)
    ours = buffer(k=3)
    ours.add(data)
    theirs = SegmentSampler(data, spec(), context_length=3, weighting="length", start="anywhere", look_ahead=True)
    batches = [of.sample(64, torch.Generator().manual_seed(7)) for of in (ours, theirs)]
    assert torch.allclose(batches[0].states, batches[1].states)
    assert torch.allclose(batches[0].following.states, batches[1].following.states)
    assert batches[0].mask.dtype == torch.bool
    assert batches[0].timesteps.dtype == torch.long


def test_a_trajectory_is_drawn_as_often_as_it_is_long_and_at_any_step():
    ours = buffer(k=1)
    ours.add(episodes(LENGTHS, ENDINGS))
    rows = ours.sample(50_000, torch.Generator().manual_seed(0)).rows[:, 0]
    counts = torch.bincount(rows, minlength=40).double()
    drawn = torch.zeros(40, dtype=torch.bool)
    for begin, length in zip(ours.begins.tolist(), LENGTHS, strict=True):
        drawn[begin : begin + length] = True  # the row behind holds the state it ended in
        expected = torch.full((length,), 50_000 / sum(LENGTHS)).double()
        assert torch.allclose(counts[begin : begin + length], expected, rtol=0.12)
    assert not counts[~drawn].any()


def test_the_oldest_goes_first_and_of_offline_data_the_worst():
    data = episodes(LENGTHS, ENDINGS)
    ours = buffer(4)
    ours.fill_from(data)
    best = np.sort(data.returns)[-4:]
    np.testing.assert_allclose(ours.returns().numpy(), best, rtol=1e-5)  # worst first
    expected = best.copy()
    for index in range(5):
        new = episodes([2], "t", seed=10 + index)
        ours.add(new)
        expected[index % 4] = new.returns[0]
        np.testing.assert_allclose(ours.returns().numpy(), expected, rtol=1e-5)
    assert ours.n_trajectories == 4
    assert ours.n_steps == 8


def test_nothing_of_a_longer_predecessor_is_left_in_a_slot():
    ours = buffer(1, k=8)
    ours.add(episodes([8], "t"))
    ours.add(episodes([3], "l", seed=5))
    fresh = buffer(1, k=8)
    fresh.add(episodes([3], "l", seed=5))
    for mine, other in zip(
        ours.gather(torch.tensor([0]), torch.tensor([0])),
        fresh.gather(torch.tensor([0]), torch.tensor([0])),
        strict=True,
    ):
        if isinstance(mine, torch.Tensor):
            assert torch.equal(mine, other)
        elif mine is not None:
            assert all(torch.equal(a, b) for a, b in zip(mine, other, strict=True))


@pytest.mark.parametrize("capacity", [1, 2, 5])
@pytest.mark.parametrize("room", [1, 12, 17, 30, 200])
def test_its_rows_are_a_ring_that_nothing_in_it_suffers_from(room, capacity):
    """Against a list of the latest episodes, after each of 60 of random lengths."""
    ours = buffer(capacity, k=3, room=room)
    lengths = np.random.default_rng(room).integers(1, 9, 60).tolist()
    kept: list[ReplayBuffer] = []
    for index, length in enumerate(lengths):
        own = episodes([length], "tl"[index % 2], seed=index)
        ours.add(own)
        alone = buffer(1, k=3)
        alone.add(own)
        kept = [*kept, alone][-capacity:]
        rows = ours.rows_of(torch.arange(len(kept)))
        assert len(set(rows.tolist())) == len(rows) <= ours.room
        for back, expected in enumerate(reversed(kept)):
            slot = torch.tensor([(index - back) % capacity])
            starts = torch.arange(int(ours.lengths[slot]))
            batch, other = ours.gather(slot.repeat(len(starts)), starts), expected.gather(0 * starts, starts)
            for name in ("states", "actions", "returns_to_go", "mask", "timesteps"):
                assert torch.equal(getattr(batch, name), getattr(other, name)), (index, back, name)
            assert all(torch.equal(a, b) for a, b in zip(batch.following, other.following, strict=True)), (index, back)
    assert ours.room <= max(room, 4 * capacity * 10)  # it doubles at most


def test_whole_episodes_have_zeros_behind_their_ends():
    ours = buffer()
    ours.add(episodes(LENGTHS, ENDINGS))
    states, rewards, terminated = ours.episodes(torch.tensor([3, 1, 0]))
    assert (states.shape, rewards.shape, terminated.shape) == ((3, 6, 3), (3, 5), (3, 5))
    for row, slot in enumerate((3, 1, 0)):
        length, rows = LENGTHS[slot], ours.rows_of(torch.tensor([slot]))
        assert torch.equal(states[row, : length + 1], ours.states[rows])
        assert torch.equal(rewards[row, :length], ours.rewards[rows[:-1]])
        assert terminated[row].tolist() == [t == length - 1 and ENDINGS[slot] == "t" for t in range(5)]
        assert not states[row, length + 1 :].any()
        assert not rewards[row, length:].any()


def test_whole_episodes_hold_nothing_of_those_whose_rows_they_took():
    ours = buffer(2, room=12)
    for index, length in enumerate((5, 5, 2, 3)):  # the rows behind the last two held rewards
        ours.add(episodes([length], "t", seed=index))
    assert ours.room == 12
    _, rewards, terminated = ours.episodes(torch.tensor([0, 1]))
    assert not rewards[0, 2:].any()
    assert terminated.tolist() == [[False, True, False], [False, False, True]]


@pytest.mark.parametrize("n_online", [0, 1, 3, 9])
def test_what_was_added_online_is_saved_and_the_rest_comes_from_the_data_again(n_online):
    offline = episodes(LENGTHS, ENDINGS)
    before, after = buffer(4), buffer(4)
    for of in (before, after):
        of.fill_from(offline)
    since = before.n_added
    for index in range(n_online):
        before.add(episodes([index % 8 + 1], "tl"[index % 2], seed=index))
    state = before.state_dict(since)
    assert len(state["lengths"]) == min(n_online, 4)
    after.load_state_dict(state)
    assert (after.n_added, after.n_steps) == (before.n_added, before.n_steps)
    for name in ("lengths", "has_final_state"):
        assert torch.equal(getattr(after, name), getattr(before, name)), name
    for name in ("states", "actions", "rewards", "returns_to_go", "terminated"):
        rows = (of.rows_of(torch.arange(of.n_trajectories)) for of in (before, after))
        assert torch.equal(*(getattr(of, name)[at] for of, at in zip((before, after), rows, strict=True))), name
    batches = [of.sample(32, torch.Generator().manual_seed(1)) for of in (before, after)]
    assert torch.equal(batches[0].states, batches[1].states)


def test_an_unfinished_episode_is_not_taken_in():
    ours = buffer()
    ours.add(episodes([5, 4], "t-"))
    assert ours.n_trajectories == 1
    with pytest.raises(DataError, match="no episode ends"):
        buffer().fill_from(episodes([4], "-"))


def test_an_empty_buffer_and_other_dims_are_clear_errors():
    with pytest.raises(DataError, match="empty"):
        buffer().sample(2, torch.Generator())
    with pytest.raises(DataError, match="dims"):
        buffer().add(Trajectories.from_arrays(np.zeros((3, 7)), np.zeros((3, 2)), np.zeros(3), [0, 0, 1]))
    with pytest.raises(ValueError, match="room"):
        buffer(0)
