from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dtag.data.d4rl_file import read_d4rl
from dtag.errors import DataError
from tests.data.example_files import flat_arrays, write_hdf5


def test_episodes_end_at_terminals_and_timeouts_and_the_tail_is_unfinished(tmp_path: Path) -> None:
    trajectories = read_d4rl(write_hdf5(tmp_path / "a.hdf5", flat_arrays()))
    assert trajectories.offsets.tolist() == [0, 3, 5, 9]
    assert trajectories.complete.tolist() == [True, True, False]
    assert trajectories.terminated.nonzero()[0].tolist() == [2]
    assert trajectories.truncated.nonzero()[0].tolist() == [4]
    assert trajectories.returns.tolist() == [6.0, 9.0, 30.0]


def test_final_states_are_the_next_observations_at_the_ends(tmp_path: Path) -> None:
    trajectories = read_d4rl(write_hdf5(tmp_path / "a.hdf5", flat_arrays()))
    assert trajectories.final_states[:, 0].tolist() == [2.5, 4.5, 8.5]
    assert trajectories.has_final_state.all()


def test_final_states_are_right_when_the_file_is_read_in_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dtag.data.d4rl_file._BLOCK", 2)
    trajectories = read_d4rl(write_hdf5(tmp_path / "a.hdf5", flat_arrays()))
    assert trajectories.final_states[:, 0].tolist() == [2.5, 4.5, 8.5]


def test_without_next_observations_the_final_state_is_unknown_not_the_next_episodes_first(tmp_path: Path) -> None:
    arrays = flat_arrays()
    del arrays["next_observations"]  # as in maze2d, adroit and antmaze
    trajectories = read_d4rl(write_hdf5(tmp_path / "a.hdf5", arrays))
    assert not trajectories.has_final_state.any()
    assert not trajectories.final_states.any()


def test_columns_of_one_and_flags_as_floats_are_accepted(tmp_path: Path) -> None:
    arrays = flat_arrays()
    arrays["rewards"] = arrays["rewards"][:, None].astype(np.float64)
    arrays["terminals"] = arrays["terminals"][:, None].astype(np.float32)
    arrays["observations"] = arrays["observations"].astype(np.float64)
    trajectories = read_d4rl(write_hdf5(tmp_path / "a.hdf5", arrays))
    assert trajectories.rewards.shape == (9,)
    assert (trajectories.rewards.dtype, trajectories.states.dtype) == (np.float32, np.float32)
    assert trajectories.terminated.dtype == bool


def antmaze(tmp_path: Path) -> Path:
    """Two trajectories of 6; the ant stays at the goal for the last three steps of each."""
    arrays = flat_arrays((6, 6), "oo")
    arrays["terminals"] = np.array([0, 0, 0, 1, 1, 1] * 2, np.float32)
    del arrays["next_observations"]
    return write_hdf5(tmp_path / "antmaze.hdf5", arrays)


@pytest.mark.parametrize("split_on", [None, "truncated"])
def test_antmaze_is_not_cut_at_its_terminals_and_keeps_them(tmp_path: Path, split_on: None) -> None:
    trajectories = read_d4rl(antmaze(tmp_path), split_on=split_on)
    assert trajectories.lengths.tolist() == [6, 6]
    assert trajectories.terminated.sum() == 6


def test_antmaze_can_be_cut_at_every_terminal_when_told_so(tmp_path: Path) -> None:
    assert read_d4rl(antmaze(tmp_path), split_on="either").lengths.tolist() == [4, 1, 1, 4, 1, 1]


def test_one_step_episodes_are_not_mistaken_for_antmaze(tmp_path: Path) -> None:
    assert read_d4rl(write_hdf5(tmp_path / "a.hdf5", flat_arrays((1,) * 5, "t" * 5))).n_episodes == 5


def test_the_first_state_dims_can_be_kept(tmp_path: Path) -> None:
    arrays = flat_arrays(state_dim=5)
    arrays["observations"][:, 2:] = arrays["next_observations"][:, 2:] = 0  # ant's contact forces
    trajectories = read_d4rl(write_hdf5(tmp_path / "a.hdf5", arrays), state_dims=2)
    assert trajectories.states.shape == (9, 2)
    assert trajectories.final_states.tolist() == [[2.5, 2.5], [4.5, 4.5], [8.5, 8.5]]


def test_more_state_dims_than_there_are_cannot_be_kept(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot keep 27 state dims, 'observations' has 3"):
        read_d4rl(write_hdf5(tmp_path / "a.hdf5", flat_arrays()), state_dims=27)


def test_missing_timeouts_are_an_error_that_says_why(tmp_path: Path) -> None:
    arrays = flat_arrays()
    del arrays["timeouts"]
    with pytest.raises(DataError, match=r"a\.hdf5: 'timeouts' is missing: where episodes are cut off"):
        read_d4rl(write_hdf5(tmp_path / "a.hdf5", arrays))


def test_missing_keys_are_named_together(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.hdf5: 'observations', 'rewards', 'timeouts' missing"):
        read_d4rl(write_hdf5(tmp_path / "a.hdf5", {k: [0.0] for k in ("actions", "terminals")}))


BAD_VALUES = [
    ("observations", (4, 1), np.nan, "'observations' holds NaN or infinity, first at row 4, dim 1: nan"),
    ("next_observations", (4, 1), np.inf, "'next_observations' holds NaN or infinity, first at row 4"),
    ("actions", (7, 0), -np.inf, "'actions' holds NaN or infinity, first at row 7, dim 0: -inf"),
    ("rewards", 2, np.nan, "'rewards' holds NaN or infinity, first at row 2: nan"),
]


@pytest.mark.parametrize(("key", "where", "value", "message"), BAD_VALUES, ids=[case[0] for case in BAD_VALUES])
def test_nan_and_infinity_are_named_by_key_and_row(
    tmp_path: Path, key: str, where: int, value: float, message: str
) -> None:
    arrays = flat_arrays()
    arrays[key][where] = value
    with pytest.raises(DataError, match=rf"a\.hdf5: {message}"):
        read_d4rl(write_hdf5(tmp_path / "a.hdf5", arrays))


BAD_SHAPES = [
    ("observations", np.zeros((9, 3, 2)), r"'observations' has shape \(9, 3, 2\)"),
    ("observations", np.zeros((0, 3)), "'observations' is empty"),
    ("observations", np.zeros(()), r"'observations' has shape \(\)"),
    ("actions", np.zeros((8, 2)), "'actions' has 8 rows, 'observations' has 9"),
    ("rewards", np.zeros((9, 2)), r"'rewards' has shape \(9, 2\)"),
    ("rewards", [b"text"] * 9, "'rewards' is not numeric"),
    ("terminals", np.full(9, 0.5), "'terminals' must hold 0 or 1, row 0 holds 0.5"),
    ("timeouts", np.array([0, 0, np.nan] * 3), "'timeouts' must hold 0 or 1, row 2 holds nan"),
    ("next_observations", np.zeros((9, 4)), r"'next_observations' is \(9, 4\)"),
]


@pytest.mark.parametrize(("key", "value", "message"), BAD_SHAPES)
def test_wrong_shapes_and_kinds_are_named(tmp_path: Path, key: str, value: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=rf"a\.hdf5: {message}"):
        read_d4rl(write_hdf5(tmp_path / "a.hdf5", {**flat_arrays(), key: value}))


def test_a_file_that_cannot_be_read_is_one_clear_error(tmp_path: Path) -> None:
    whole = write_hdf5(tmp_path / "whole.hdf5", flat_arrays((3000,), "o")).read_bytes()
    (tmp_path / "cut.hdf5").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "foreign.hdf5").write_text("this is no HDF5 file")
    (tmp_path / "empty.hdf5").touch()
    cases = {
        "cut.hdf5": "is damaged or cut short",
        "foreign.hdf5": "is not an HDF5 file",
        "empty.hdf5": r"is empty \(0 bytes\)",
        "absent.hdf5": "there is no such file",
        ".": "is a directory",
    }
    for name, message in cases.items():
        with pytest.raises(DataError, match=message) as caught:
            read_d4rl(tmp_path / name)
        assert "\n" not in str(caught.value)
        assert str(tmp_path) in str(caught.value)


def test_damaged_values_inside_a_whole_file_are_one_clear_error(tmp_path: Path) -> None:
    import h5py

    path = tmp_path / "a.hdf5"
    arrays = flat_arrays((2000,), "o")
    with h5py.File(path, "w") as file:
        for key, value in arrays.items():
            file.create_dataset(key, data=value, compression="gzip", chunks=True)
        where, size = (file["actions"].id.get_chunk_info(0).byte_offset, file["actions"].id.get_chunk_info(0).size)
    damaged = bytearray(path.read_bytes())
    damaged[where : where + size] = bytes(size)
    path.write_bytes(damaged)
    with pytest.raises(DataError, match=r"a\.hdf5: is damaged"):
        read_d4rl(path)
