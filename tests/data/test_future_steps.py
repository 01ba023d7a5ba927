"""The steps behind each segment, and a replay buffer that prefers high returns: what PDT asks of the data."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dtag.data.replay_buffer import ReplayBuffer
from dtag.data.segments import SegmentSampler
from tests.data.example_episodes import episodes, spec
from tests.reference.naive_episodes import segment, split

LENGTHS, ENDINGS = [5, 1, 8, 3, 2, 6], "tltltl"


def sources(k: int, future_steps: int, **options):
    """A sampler and a buffer of the same episodes."""
    data = episodes(LENGTHS, ENDINGS)
    sizes = {"context_length": k, "future_steps": future_steps}
    buffer = ReplayBuffer(6, spec(), room=40, **sizes, **options)
    buffer.add(data)
    return data, [SegmentSampler(data, spec(), weighting="length", start="anywhere", **sizes), buffer]


@pytest.mark.parametrize("future_steps", [1, 3, 12])
@pytest.mark.parametrize("k", [1, 2, 4])
def test_the_future_is_the_segment_that_begins_where_the_first_ends(k, future_steps):
    data, both = sources(k, future_steps)
    for ours in both:
        for e, episode in enumerate(split(data)):
            starts = torch.arange(LENGTHS[e])
            batch = ours.gather(torch.full_like(starts, e), starts)
            assert batch.future.mask.dtype == torch.bool
            for start in starts.tolist():
                for name, expected in segment(episode, start + k, future_steps, spec()).items():
                    if name in ("states", "actions", "mask"):
                        found = getattr(batch.future, name)[start].numpy()
                        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6, err_msg=name)


def test_asking_for_the_future_changes_nothing_else_and_nobody_else_gets_it():
    with_future, without = sources(3, 4)[1], sources(3, 0)[1]
    for ours, plain in zip(with_future, without, strict=True):
        batches = [one.sample(16, torch.Generator().manual_seed(2)) for one in (ours, plain)]
        assert batches[1].future is None
        for name in ("states", "actions", "returns_to_go", "timesteps", "mask", "rows"):
            assert torch.equal(*(getattr(batch, name) for batch in batches)), name


def test_parts_of_a_batch_keep_their_future():
    whole = sources(3, 4)[1][0].sample(6, torch.Generator().manual_seed(0))
    parts = list(whole.split(2))
    for name in ("states", "actions", "mask"):
        joined = torch.cat([getattr(part.future, name) for part in parts])
        assert torch.equal(joined, getattr(whole.future, name))


@pytest.mark.parametrize("shift", [-3.0, 0.0, 3.0])
def test_trajectories_are_drawn_in_proportion_to_their_return_lifted_to_0(shift):
    ours = sources(1, 0, weighting="return")[1][1]
    ours.returns_to_go[ours.begins] += shift
    returns = (ours.returns() - min(float(ours.returns().min()), 0.0)).double()
    batch = ours.sample(40_000, torch.Generator().manual_seed(0))
    counts = torch.bincount(torch.searchsorted(ours.begins, batch.rows[:, 0], right=True) - 1, minlength=6).double()
    assert torch.allclose(counts / 40_000, returns / returns.sum(), atol=0.01)


def test_trajectories_without_any_return_are_drawn_alike():
    ours = sources(1, 0, weighting="return")[1][1]
    ours.returns_to_go.zero_()
    batch = ours.sample(12_000, torch.Generator().manual_seed(0))
    counts = torch.bincount(torch.searchsorted(ours.begins, batch.rows[:, 0], right=True) - 1, minlength=6).double()
    assert torch.allclose(counts / 12_000, torch.full((6,), 1 / 6).double(), atol=0.02)
