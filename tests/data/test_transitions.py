from __future__ import annotations

import numpy as np
import pytest
import torch

from dtag.data.transitions import TransitionSampler
from dtag.errors import DataError
from tests.data.example_episodes import episodes, spec
from tests.reference.naive_episodes import split, transitions


@pytest.mark.parametrize("next_states", [True, False])
@pytest.mark.parametrize(
    ("lengths", "endings"), [([4, 1, 6, 2], "tltl"), ([1, 1, 3], "tl-"), ([5], "l"), ([2, 7], "t-")]
)
def test_every_transition_equals_the_naive_loop(lengths, endings, next_states):
    data = episodes(lengths, endings, next_states=next_states)
    scales = spec(reward_scale=3.0, reward_shift=-1.0)
    ours, expected = TransitionSampler(data, scales), transitions(split(data), scales)
    assert ours.usable.tolist() == sorted(expected)
    batch = ours.gather(ours.usable)
    for i, row in enumerate(ours.usable.tolist()):
        naive = expected[row]
        np.testing.assert_allclose(batch.states[i], naive["state"], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(batch.actions[i], naive["action"], rtol=0, atol=0)
        assert batch.rewards[i].item() == pytest.approx(naive["reward"], rel=1e-5)
        assert batch.terminated[i].item() == naive["terminated"]
        if naive["next_state"] is not None:
            np.testing.assert_allclose(batch.next_states[i], naive["next_state"], rtol=1e-5, atol=1e-6)
        assert torch.isfinite(batch.next_states[i]).all()


def test_no_next_state_is_the_next_episodes_first():
    data = episodes([3, 3, 3], "tlt")
    ours = TransitionSampler(data, spec())
    batch = ours.gather(ours.usable)
    firsts = torch.from_numpy(spec().normalize(data.states[[3, 6]]))
    distance = (batch.next_states[:, None] - firsts).abs().amax(-1)
    assert distance.min() > 1e-3


def test_without_next_states_a_terminated_last_step_is_kept_and_a_truncated_one_left_out():
    ours = TransitionSampler(episodes([3, 3], "tl", next_states=False), spec())
    assert ours.usable.tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(("next_states", "kept"), [(False, [0, 1, 2, 3, 4]), (True, [0, 1, 2, 3, 4, 5])])
def test_an_unfinished_tail_counts_but_for_a_last_row_whose_next_state_is_unknown(next_states, kept):
    assert TransitionSampler(episodes([2, 4], "t-", next_states=next_states), spec()).usable.tolist() == kept


def test_truncation_never_sets_terminated():
    ours = TransitionSampler(episodes([3, 3], "lt"), spec())
    assert ours.gather(torch.arange(6)).terminated.tolist() == [0, 0, 0, 0, 0, 1]


def test_sampling_is_uniform_over_the_usable_steps_and_follows_the_seed():
    data = episodes([3, 2, 4], "tll", next_states=False)
    ours, n = TransitionSampler(data, spec()), 20_000
    batch = ours.sample(n, torch.Generator().manual_seed(0))
    rows = (batch.actions[:, None] == ours.actions).all(-1).float().argmax(1)
    counts = torch.bincount(rows, minlength=9).float()
    assert counts.nonzero()[:, 0].tolist() == ours.usable.tolist() == [0, 1, 2, 3, 5, 6, 7]
    fair = n / 7
    assert ((counts[ours.usable] - fair) ** 2 / fair).sum() < 22.5  # 0.1 % with 6 degrees of freedom
    again = ours.sample(n, torch.Generator().manual_seed(0))
    assert all(torch.equal(a, b) for a, b in zip(batch, again, strict=True))


def test_no_known_next_state_is_refused():
    with pytest.raises(DataError, match="toy: no step has a known next state"):
        TransitionSampler(episodes([1, 1], "ll", next_states=False), spec())
