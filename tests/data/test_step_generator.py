from __future__ import annotations

import itertools

import torch

from dtag.data.step_generator import seed_step, step_generator, step_seed


def test_the_same_arguments_give_the_same_numbers():
    pair = [torch.rand(5, generator=step_generator(3, "segments", 1, 7)) for _ in range(2)]
    assert torch.equal(*pair)


def test_the_seed_is_the_same_on_every_machine_and_in_every_run():
    assert step_seed(0, "segments", 0, 0) == 3_863_999_128_188_731_971  # a change breaks every resumed run


def test_seed_stream_rank_and_step_are_told_apart():
    keys = list(itertools.product((0, 1, 11), ("segments", "torch"), (0, 1, 2), (0, 1, 2, 10, 12, 112)))
    seeds = {step_seed(*key) for key in keys}
    assert len(seeds) == len(keys)
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_draws_of_neighbouring_steps_are_uncorrelated():
    draws = torch.stack([torch.randn(2000, generator=step_generator(0, "torch", 0, step)) for step in range(12)])
    correlation = torch.corrcoef(draws) - torch.eye(12)
    assert correlation.abs().max() < 0.1


def test_seeding_a_step_gives_torchs_own_stream_and_queues_nothing_for_absent_accelerators():
    seed_step(3, "torch", 0, 7)
    ours = torch.rand(5)
    torch.manual_seed(step_seed(3, "torch", 0, 7))
    assert torch.equal(ours, torch.rand(5))
    queued = len(torch.cuda._queued_calls)
    for step in range(10):
        seed_step(3, "torch", 0, step)
    assert len(torch.cuda._queued_calls) == queued
