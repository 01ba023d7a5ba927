"""StepLoader and TrajectoryDataModule: a batch is a function of seed, rank and step, and of nothing else."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from dtag.data.datamodule import StepLoader, TrajectoryDataModule
from dtag.data.dataset import Dataset, DatasetInfo
from dtag.errors import UsageError
from tests.data.example_episodes import episodes
from tests.reference.toy_environment import store_line


def _module(rank: int = 0, **options: Any) -> TrajectoryDataModule:
    options = {"held_out": 0.25, "context_length": 4, "batch_size": 6, "start": "anywhere", **options}
    module = TrajectoryDataModule(store_line(), **options)
    if rank:
        strategy = SimpleNamespace(root_device=torch.device("cpu"))
        module.trainer = SimpleNamespace(global_rank=rank, strategy=strategy)  # type: ignore[assignment]
    return module


def _batches(module: TrajectoryDataModule, kind: Any, n_steps: int = 5) -> list[Any]:
    return list(module.serve(kind, n_steps, batch_size=6, updates_per_step=2).train_dataloader())


def _equal(one: Any, other: Any) -> bool:
    pairs = [(a, b) for a, b in zip(one, other, strict=True) if a is not None]  # nothing follows unless asked for
    return all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("kind", ["segments", "transitions"])
def test_the_same_step_has_the_same_batch(kind: str) -> None:
    first, second = _batches(_module(), kind), _batches(_module(), kind, n_steps=8)
    assert len(first) == 5
    assert all(_equal(a, b) for a, b in zip(first, second, strict=False))
    assert not any(_equal(a, b) for i, a in enumerate(first) for b in first[:i])


@pytest.mark.parametrize("kind", ["segments", "transitions"])
def test_ranks_and_seeds_draw_different_batches(kind: str) -> None:
    drawn = [_batches(module, kind) for module in (_module(), _module(rank=1), _module(rank=2), _module(seed=1))]
    assert not any(_equal(a, b) for i, one in enumerate(drawn) for other in drawn[:i] for a in one for b in other)


@pytest.mark.parametrize("kind", ["segments", "transitions"])
@pytest.mark.parametrize("after", [0, 1, 3, 4])
def test_a_resumed_loader_goes_on_where_it_was_stopped(kind: str, after: int) -> None:
    whole = _batches(_module(), kind)
    loader = _module().serve(kind, 5, batch_size=6, updates_per_step=2).train_dataloader()  # type: ignore[arg-type]
    iterator = iter(loader)
    for _ in range(after):
        next(iterator)
    resumed = _module().serve(kind, 5, batch_size=6, updates_per_step=2).train_dataloader()  # type: ignore[arg-type]
    resumed.load_state_dict(loader.state_dict())
    rest = list(resumed)
    assert len(rest) == 5 - after
    assert all(_equal(a, b) for a, b in zip(rest, whole[after:], strict=True))


def test_a_finished_loader_starts_over() -> None:
    loader = StepLoader(lambda step: step, 3)  # type: ignore[arg-type,return-value]
    assert list(loader) == [0, 1, 2]
    assert list(loader) == [0, 1, 2]
    assert len(loader) == 3


def test_a_step_of_transitions_holds_several_updates_batches() -> None:
    (batch,) = _batches(_module(), "transitions", n_steps=1)
    assert len(batch.rewards) == 12


@pytest.mark.parametrize("seed", [0, 1])
def test_held_out_trajectories_are_never_in_training_segments(seed: int) -> None:
    module = _module(seed=seed)
    train, held_out = module.split()
    assert sorted([*train, *held_out]) == list(range(40))
    assert len(held_out) == 10
    trajectories = module.dataset.trajectories

    def states(episodes: np.ndarray) -> set[tuple[float, ...]]:
        return {tuple(row) for row in module.spec.normalize(trajectories.select(episodes).states).tolist()}

    own, others = states(train), states(held_out)
    assert not own & others
    drawn = [batch.states[batch.mask] for batch in _batches(module, "segments", 40)]
    trained = {tuple(row) for row in torch.cat(drawn).tolist()}
    assert trained <= own
    assert len(trained) > len(own) / 2
    validated = {tuple(row) for batch in module.val_dataloader() for row in batch.states[batch.mask].tolist()}
    assert validated <= others


def test_every_rank_and_stage_has_the_same_split_and_another_seed_another() -> None:
    splits = [_module(rank).split()[1].tolist() for rank in (0, 1)]
    assert splits[0] == splits[1]
    assert _module(seed=1).split()[1].tolist() != splits[0]


def test_every_validation_sees_the_same_segments() -> None:
    module = _module(n_validation_batches=3)
    module.serve("segments", 5)
    first, second = list(module.val_dataloader()), list(module.val_dataloader())
    assert len(first) == 3
    assert all(_equal(a, b) for a, b in zip(first, second, strict=True))


def test_without_held_out_episodes_validation_still_runs_once_for_the_callbacks() -> None:
    module = _module(held_out=0.0)
    module.serve("segments", 5)
    assert list(module.val_dataloader()) == [None]
    module.serve("transitions", 5)
    assert list(module.val_dataloader()) == []


def test_the_critic_learns_from_every_transition() -> None:
    module = _module()
    assert len(module.transition_sampler().usable) == module.dataset.trajectories.n_steps


@pytest.mark.parametrize("held_out", [-0.1, 1.0])
def test_a_share_that_leaves_nothing_to_train_on_is_refused(held_out: float) -> None:
    with pytest.raises(UsageError, match=r"data\.held_out"):
        _module(held_out=held_out)


def test_top_fraction_keeps_the_best_complete_training_episodes_for_the_policy_alone() -> None:
    module, whole = _module(top_fraction=0.2), _module()
    returns, (train, _) = module.dataset.trajectories.returns, module.split()
    best = sorted(returns[train])[-int(0.2 * len(train)) :]
    assert sorted(
        module.segment_sampler("train").returns_to_go[module.segment_sampler("train").first].flatten().tolist()
    ) == pytest.approx([value / module.return_scale for value in best], rel=1e-5)
    assert len(module.segment_sampler("held_out").lengths) == len(whole.segment_sampler("held_out").lengths)
    assert len(module.transition_sampler().usable) == len(whole.transition_sampler().usable)
    assert module.spec == whole.spec


def test_the_best_are_of_the_complete_ones_alone() -> None:
    """What a file's end cut off may have the highest return so far, and is no episode."""
    module = _module(held_out=0.0, top_fraction=0.5)
    data = episodes([3, 4, 9], "tl-")
    data = replace(data, rewards=np.ones_like(data.rewards))  # returns 3, 4 and, of the one that does not end, 9
    module._dataset = Dataset(data, DatasetInfo("toy", None))
    assert module.segment_sampler("train").lengths.tolist() == [4]


@pytest.mark.parametrize("share", [0.0, 1.5])
def test_a_top_fraction_outside_0_and_1_is_refused(share: float) -> None:
    with pytest.raises(UsageError, match="top_fraction"):
        _module(top_fraction=share)


@pytest.mark.parametrize("options", [{"held_out": 0.2}, {"held_out": 0.0, "top_fraction": 0.1}, {"held_out": 0.0}])
def test_the_last_timestep_is_one_that_the_policy_learns(options: dict[str, float]) -> None:
    """Trap 3: beyond it an embedding would be as it was initialised."""
    found = set()
    for seed in range(20):
        module = TrajectoryDataModule("unused", seed=seed, start="anywhere", **options)
        module._dataset = Dataset(episodes([3, 4] * 10 + [30], "t" * 21), DatasetInfo("toy", None))
        batch = module.segment_sampler("train").sample(3000, torch.Generator().manual_seed(0))
        found.add(module.spec.max_timestep)
        assert module.spec.max_timestep == batch.timesteps[batch.mask].max().item()
    assert found == ({3, 29} if options["held_out"] else {module.spec.max_timestep})


def test_the_steps_that_measure_a_critic_are_the_same_at_every_call() -> None:
    module = TrajectoryDataModule(store_line(), seed=3)
    first = module.some_transitions(7)
    assert module.some_transitions(7) is first
    sampler = module.transition_sampler()
    rows = torch.randperm(len(sampler.usable), generator=torch.Generator().manual_seed(3))[:7]
    assert torch.equal(first.states, sampler.states[sampler.usable[rows]])
