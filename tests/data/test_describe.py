from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dtag.data.describe import summarize
from dtag.data.return_figure import draw_returns
from dtag.data.trajectories import Trajectories
from dtag.errors import DataError
from tests.data.example_files import example_dataset


def test_returns_and_lengths_are_of_complete_episodes_only() -> None:
    summary = summarize(example_dataset())
    assert (summary.n_episodes, summary.n_complete, summary.n_unfinished_steps) == (3, 2, 4)
    assert summary.returns == {"min": 6, "25 %": 6.75, "median": 7.5, "75 %": 8.25, "max": 9, "mean": 7.5}
    assert summary.lengths["mean"] == 2.5
    assert summary.normalized_mean == 75.0


def test_actions_are_counted_against_the_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dtag.data.describe._BLOCK", 2)
    actions = np.array([[0, 0], [1, 0], [1, 2], [-1, -1], [0.5, -1.5]], np.float32)
    trajectories = Trajectories.from_arrays(np.zeros((5, 1)), actions, np.zeros(5), np.arange(5) == 4)
    dataset = replace(example_dataset(), trajectories=trajectories)
    summary = summarize(dataset)
    assert (summary.n_actions_outside, summary.n_actions_at_bounds) == (2, 2)
    assert (summary.action_low, summary.action_high) == ((-1.0, -1.5), (1.0, 2.0))
    unknown = summarize(replace(dataset, info=replace(dataset.info, action_low=(), action_high=())))
    assert (unknown.n_actions_outside, unknown.n_actions_at_bounds) == (None, None)


def test_values_that_are_not_finite_are_counted() -> None:
    dataset = example_dataset()
    dataset.trajectories.states[4, 1] = np.nan
    dataset.trajectories.rewards[8] = np.inf  # in the unfinished episode
    assert summarize(dataset).n_not_finite == 2


def test_terminals_inside_episodes_are_counted() -> None:
    terminated, truncated = np.array([0, 1, 1, 0]), np.array([0, 0, 0, 1])
    inside = Trajectories.from_arrays(
        np.zeros((4, 1)), np.zeros((4, 2)), np.zeros(4), terminated, truncated, split_on="truncated"
    )
    assert summarize(replace(example_dataset(), trajectories=inside)).n_interior_terminals == 2


def test_a_dataset_without_a_complete_episode_has_no_returns(tmp_path: Path) -> None:
    dataset = example_dataset(ends="uuu")
    summary = summarize(dataset)
    assert (summary.n_complete, summary.returns, summary.normalized_mean) == (0, {}, None)
    with pytest.raises(DataError, match="no episode is complete"):
        draw_returns(dataset, tmp_path / "a.png")


def test_the_returns_are_drawn(tmp_path: Path) -> None:
    assert draw_returns(example_dataset(), tmp_path / "new" / "a.png").read_bytes().startswith(b"\x89PNG")


def test_equal_returns_can_be_drawn(tmp_path: Path) -> None:
    dataset = example_dataset(lengths=(1,), ends="t")
    assert draw_returns(replace(dataset, info=replace(dataset.info, reference=None)), tmp_path / "a.png").exists()


def test_a_picture_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"the picture cannot be written to .*a\.nothing"):
        draw_returns(example_dataset(), tmp_path / "a.nothing")
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"the picture cannot be written"):
        draw_returns(example_dataset(), tmp_path / "file" / "a.png")
