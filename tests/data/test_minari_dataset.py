"""Datasets that others made with Minari, as downloaded ones are."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import gymnasium
import minari
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, Space
from minari.data_collector import EpisodeBuffer

from dtag.data.dataset import Reference
from dtag.data.minari_dataset import load
from dtag.errors import DataError

ID = "other/pendulum/expert-v0"


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Minari's folder, this test's own."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    return tmp_path / "minari"


def box(size: int) -> Box:
    return Box(-1, 1, (size,), np.float64)


def numbers(n: int, size: int, first: float = 0.0) -> np.ndarray:
    return np.full((n, size), first) + np.arange(n)[:, None]


def create(observations: list[Any], space: Space[Any], actions: Space[Any] | None = None, **arguments: Any) -> None:
    """Two episodes of lengths 2 and 3, the second neither terminated nor truncated at its end."""
    episodes = [
        EpisodeBuffer(
            observations=observation,
            actions=np.zeros((n, 1)) if actions is None else np.zeros(n, np.int64),
            rewards=np.ones(n),
            terminations=np.arange(n) == 1,
            truncations=np.zeros(n, bool),
            infos={"success": np.zeros(n + 1, bool)},
        )
        for n, observation in zip((2, 3), observations, strict=True)
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        minari.create_dataset_from_buffers(
            ID, episodes, observation_space=space, action_space=actions or box(1), data_format="hdf5", **arguments
        )


def test_a_flat_dataset_is_read_with_its_final_states() -> None:
    create([numbers(3, 3), numbers(4, 3, 10.0)], box(3))
    trajectories = load(ID).trajectories
    assert trajectories.offsets.tolist() == [0, 2, 5]
    assert trajectories.states[:, 0].tolist() == [0, 1, 10, 11, 12]
    assert trajectories.final_states[:, 0].tolist() == [2, 13]
    assert trajectories.has_final_state.all()
    assert trajectories.complete.tolist() == [True, False]
    assert trajectories.terminated.tolist() == [False, True, False, True, False]


def test_a_second_load_is_equal_and_mapped() -> None:
    create([numbers(3, 3), numbers(4, 3)], box(3))
    first, second = load(ID), load(ID)
    assert first.info == second.info
    np.testing.assert_array_equal(first.trajectories.states, second.trajectories.states)
    assert isinstance(second.trajectories.states.base, np.memmap)


def test_goal_conditioned_observations_are_joined_without_the_achieved_goal() -> None:
    space = Dict({"achieved_goal": box(2), "desired_goal": box(2), "observation": box(4)})
    episodes = [
        {
            "achieved_goal": numbers(n, 2, 100),
            "desired_goal": numbers(n, 2, 200),
            "observation": numbers(n, 4),
        }
        for n in (3, 4)
    ]
    create(episodes, space)
    dataset = load(ID)
    assert dataset.info.observation_keys == ("observation", "desired_goal")
    assert dataset.trajectories.states[1].tolist() == [1, 1, 1, 1, 201, 201]
    assert dataset.trajectories.final_states[1].tolist() == [3, 3, 3, 3, 203, 203]


def test_other_dict_observations_are_joined_by_name() -> None:
    create([{"b": numbers(n, 1, 5), "a": numbers(n, 2)} for n in (3, 4)], Dict({"b": box(1), "a": box(2)}))
    dataset = load(ID)
    assert dataset.info.observation_keys == ("a", "b")
    assert dataset.trajectories.states[0].tolist() == [0, 0, 5]


def test_what_minari_records_becomes_the_description() -> None:
    create(
        [numbers(3, 3), numbers(4, 3)], box(3), env="Pendulum-v1", ref_min_score=-5.0, ref_max_score=5.0, author="them"
    )
    info = load(ID).info
    assert (info.id, info.environment, info.max_episode_steps) == (ID, "Pendulum-v1", 200)
    assert info.reference == Reference(-5.0, 5.0, "minari")
    assert (info.action_low, info.action_high) == ((-1.0,), (1.0,))
    assert info.provenance["author"] == ["them"]


def test_without_scores_of_its_own_a_familys_are_used() -> None:
    create([numbers(3, 3), numbers(4, 3)], box(3))
    edit_metadata(env_spec=gymnasium.spec("Hopper-v5").to_json())
    reference = load(ID).info.reference
    assert reference is not None
    assert (reference.maximum, reference.label) == (3234.3, "d4rl scale")


def edit_metadata(**changed: Any) -> None:
    path = minari.storage.get_dataset_path(ID) / "data" / "metadata.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changed}))


def test_discrete_actions_are_refused() -> None:
    create([numbers(3, 3), numbers(4, 3)], box(3), Discrete(2))
    with pytest.raises(DataError, match=r"actions are Discrete\(2\); dtag needs a vector of continuous numbers"):
        load(ID)


def test_nan_in_a_foreign_dataset_is_named_by_row() -> None:
    bad = numbers(4, 3)
    bad[1, 2] = np.nan
    create([numbers(3, 3), bad], box(3))
    with pytest.raises(DataError, match="'states' holds NaN or infinity, first at row 3, dim 2"):
        load(ID)


def test_an_episode_without_its_last_observation_is_refused() -> None:
    create([numbers(3, 3), numbers(3, 3)], box(3))
    with pytest.raises(DataError, match="episode 1 has 3 observations and 3 actions"):
        load(ID)


def test_an_episode_of_other_dims_than_the_dataset_says_is_refused() -> None:
    create([numbers(3, 1), numbers(4, 1)], box(3))
    with pytest.raises(DataError, match=r"episode 0 has observations \(3, 1\) .* the dataset says 3 and 1 dims"):
        load(ID)


def test_damage_is_one_clear_error(root: Path) -> None:
    create([numbers(3, 3), numbers(4, 3)], box(3))
    main = root / ID / "data" / "main_data.hdf5"
    main.write_bytes(main.read_bytes()[:3000])
    with pytest.raises(DataError, match="is damaged, fetch or import it again"):
        load(ID)
    edit_metadata(minari_version="9.9.9")
    with pytest.raises(DataError, match="Minari cannot open it: The installed Minari version"):
        load(ID)
    (root / ID / "data" / "metadata.json").write_text("{")
    with pytest.raises(DataError, match="the dataset's description cannot be read"):
        load(ID)
    with pytest.raises(DataError, match="there is no dataset 'other/absent-v0'"):
        load("other/absent-v0")
