from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dtag.data.npz_file import read_npz
from dtag.errors import DataError
from tests.data.example_files import flat_arrays

OWN_KEYS = {
    "observations": "states",
    "next_observations": "next_states",
    "terminals": "terminated",
    "timeouts": "truncated",
}


def write(path: Path, own_keys: bool = True, **changed: np.ndarray | None) -> Path:
    arrays = {**flat_arrays(), **changed}
    named = {OWN_KEYS.get(key, key) if own_keys else key: value for key, value in arrays.items() if value is not None}
    np.savez(path, **named)
    return path


@pytest.mark.parametrize("own_keys", [True, False])
def test_both_vocabularies_are_read(tmp_path: Path, own_keys: bool) -> None:
    trajectories = read_npz(write(tmp_path / "a.npz", own_keys))
    assert trajectories.lengths.tolist() == [3, 2, 4]
    assert trajectories.complete.tolist() == [True, True, False]
    assert trajectories.final_states[:, 0].tolist() == [2.5, 4.5, 8.5]


def test_next_states_may_be_left_out(tmp_path: Path) -> None:
    assert not read_npz(write(tmp_path / "a.npz", next_observations=None)).has_final_state.any()


def test_errors_name_the_keys_the_file_uses(tmp_path: Path) -> None:
    bad = flat_arrays()["observations"]
    bad[3, 2] = np.nan
    with pytest.raises(DataError, match=r"a\.npz: 'states' holds NaN or infinity, first at row 3, dim 2"):
        read_npz(write(tmp_path / "a.npz", observations=bad))
    with pytest.raises(DataError, match=r"b\.npz: 'observations' holds NaN or infinity"):
        read_npz(write(tmp_path / "b.npz", own_keys=False, observations=bad))


def test_missing_arrays_are_named_and_truncated_is_explained(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"'truncated' or 'timeouts' missing; where no episode was cut off it is all"):
        read_npz(write(tmp_path / "a.npz", timeouts=None))
    with pytest.raises(DataError, match=r"'actions', 'rewards' missing; the file holds states, next_states"):
        read_npz(write(tmp_path / "b.npz", actions=None, rewards=None))


def test_a_file_that_is_no_npz_is_one_clear_error(tmp_path: Path) -> None:
    whole = write(tmp_path / "whole.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "foreign.npz").write_text("this is no npz")
    np.save(tmp_path / "array.npy", np.zeros(3))
    np.savez(tmp_path / "object.npz", **{**flat_arrays(), "rewards": np.array([{}] * 9)})
    cases = {
        "cut.npz": "is not a readable .npz file",
        "foreign.npz": "is not a readable .npz file",
        "array.npy": "holds one array; save all of them with np.savez",
        "object.npz": "'rewards' cannot be read: Object arrays",
        "absent.npz": "there is no such file",
    }
    for name, message in cases.items():
        with pytest.raises(DataError, match=message):
            read_npz(tmp_path / name)


def test_damaged_values_are_named_by_key(tmp_path: Path) -> None:
    path = write(tmp_path / "a.npz")
    damaged = bytearray(path.read_bytes())
    rewards = flat_arrays()["rewards"].tobytes()
    where = damaged.index(rewards)
    damaged[where : where + 4] = b"\xff\xff\xff\xff"
    path.write_bytes(damaged)
    with pytest.raises(DataError, match="'rewards' cannot be read: Bad CRC"):
        read_npz(path)


def test_the_first_state_dims_can_be_kept_and_no_more_than_there_are(tmp_path: Path) -> None:
    whole = read_npz(write(tmp_path / "a.npz"))
    kept = read_npz(tmp_path / "a.npz", state_dims=1)
    assert np.array_equal(kept.states, whole.states[:, :1])
    assert np.array_equal(kept.final_states, whole.final_states[:, :1])
    with pytest.raises(DataError, match=r"a\.npz: cannot keep 99 state dims, 'states' has \d"):
        read_npz(tmp_path / "a.npz", state_dims=99)
