from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import minari
import numpy as np
import pytest

from dtag.data import minari_dataset, minari_store
from dtag.data.local_datasets import local_datasets
from dtag.data.minari_dataset import load
from dtag.data.minari_store import save
from dtag.data.trajectories import Trajectories
from dtag.errors import DataError, UsageError
from tests.data.example_files import assert_equal, example_dataset


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Minari's folder, this test's own."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    monkeypatch.setenv("DTAG_CACHE", str(tmp_path / "cache"))
    return tmp_path / "minari"


def files_below(root: Path) -> list[str]:
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*")) if root.exists() else []


@pytest.mark.parametrize("packed", [True, False])
def test_a_dataset_comes_back_as_it_was_saved(packed: bool) -> None:
    dataset = example_dataset()
    folder = save(dataset)
    if not packed:
        remove_packed(folder)
    loaded = load("local/example/tiny-v0")
    assert_equal(loaded.trajectories, dataset.trajectories)
    assert loaded.info == dataset.info
    assert not loaded.trajectories.complete[2]


def remove_packed(folder: Path) -> None:
    for file in (folder / "packed").rglob("*.npy"):
        file.unlink()


@pytest.mark.parametrize("packed", [True, False])
def test_unknown_final_states_stay_unknown(packed: bool) -> None:
    dataset = example_dataset()
    known = np.array([True, False, True])
    final_states = dataset.trajectories.final_states * known[:, None]
    dataset = replace(
        dataset, trajectories=replace(dataset.trajectories, has_final_state=known, final_states=final_states)
    )
    folder = save(dataset)
    if not packed:
        remove_packed(folder)
    assert_equal(load(dataset.info.id).trajectories, dataset.trajectories)
    repeated = minari.load_dataset(dataset.info.id)[1].observations
    assert repeated[-1].tolist() == repeated[-2].tolist()


def test_terminals_inside_an_episode_survive() -> None:
    terminated = np.array([False, True, True, False])
    truncated = np.array([False, False, False, True])
    inside = Trajectories.from_arrays(
        np.eye(4), np.zeros((4, 2)), np.ones(4), terminated, truncated, split_on="truncated"
    )
    dataset = replace(example_dataset(), trajectories=inside)
    remove_packed(save(dataset))
    assert_equal(load(dataset.info.id).trajectories, inside)


def test_minari_itself_lists_and_reads_it() -> None:
    save(example_dataset())
    listed = minari.list_local_datasets()
    assert listed["local/example/tiny-v0"]["total_steps"] == 9
    dataset = minari.load_dataset("local/example/tiny-v0")
    assert [len(episode.rewards) for episode in dataset] == [3, 2, 4]
    assert [len(episode.observations) for episode in dataset] == [4, 3, 5]
    assert (dataset.storage.metadata["ref_min_score"], dataset.storage.metadata["ref_max_score"]) == (0.0, 10.0)


def test_the_environment_of_a_registered_id_can_be_recovered() -> None:
    dataset = example_dataset(environment="Pendulum-v1")
    save(replace(dataset, info=replace(dataset.info, environment_kwargs={"g": 5.0})))
    recovered = minari.load_dataset(dataset.info.id).recover_environment()
    assert recovered.unwrapped.g == 5.0
    assert recovered.spec.max_episode_steps == 200


def test_an_environment_that_cannot_be_made_is_kept_by_name_only() -> None:
    dataset = example_dataset(environment="NoSuch-v1")
    save(dataset)
    assert load(dataset.info.id).info.environment == "NoSuch-v1"
    assert minari.load_dataset(dataset.info.id).env_spec is None


def test_what_is_there_is_replaced_only_when_asked() -> None:
    save(example_dataset())
    shorter = example_dataset(lengths=(2,), ends="t")
    with pytest.raises(DataError, match=r"there is a dataset at .*tiny-v0 already: choose another id, or overwrite"):
        save(shorter)
    assert load(shorter.info.id).trajectories.n_steps == 9
    save(shorter, overwrite=True)
    assert load(shorter.info.id).trajectories.n_steps == 2
    assert [dataset.n_steps for dataset in local_datasets()] == [2]


@pytest.mark.parametrize("id", ["local/example/tiny", "../outside-v0", "/outside-v0", "local//tiny-v0", "a b-v0", ""])
def test_an_id_minari_does_not_allow_is_refused(root: Path, id: str) -> None:
    with pytest.raises(UsageError, match="is not a dataset id like"):
        save(example_dataset(id))
    assert files_below(root) == []


def test_a_dataset_is_not_stored_inside_another_or_over_a_folder_of_datasets() -> None:
    save(example_dataset("local/example-v0"))
    with pytest.raises(DataError, match="is a dataset: none can be stored below it"):
        save(example_dataset("local/example-v0/tiny-v0"))
    save(example_dataset("local/group-v1/tiny-v0"))
    with pytest.raises(DataError, match="exists and is not a dataset"):
        save(example_dataset("local/group-v1"), overwrite=True)


def break_writing(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """The second episode's write fails, the first being on disk."""
    whole = minari_store._episodes

    def broken(*arguments: Any) -> Iterator[Any]:
        yield next(iter(whole(*arguments)))
        raise error

    monkeypatch.setattr(minari_store, "_episodes", broken)


FULL = [
    OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
    OSError("[Errno 28] Can't synchronously write data (errno = 28, error message = 'No space left on device')"),
    RuntimeError("Unable to synchronously close file (No space left on device)"),
    ValueError("Unable to synchronously create dataset (error message = 'No space left on device')"),
    OSError("2202871 requested and 311264 written"),
]


@pytest.mark.parametrize("error", FULL, ids=["errno", "h5py's text", "at close", "at creation", "NumPy"])
def test_a_full_disk_is_one_clear_error_and_leaves_nothing(
    root: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    break_writing(monkeypatch, error)
    with pytest.raises(DataError, match=r"^the disk is full: 'local/example/tiny-v0' was not written") as caught:
        save(example_dataset())
    assert "\n" not in str(caught.value)
    assert files_below(root) == []
    assert local_datasets() == []


def test_a_disk_without_room_is_noticed_before_hdf5_can_crash_on_it(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(minari_store, "_bytes_needed", lambda _: 1 << 60)
    monkeypatch.setattr(minari_store, "_write_minari", None)
    with pytest.raises(DataError, match=r"^the disk is full: .* needs up to 1,152,921,504,607 MB"):
        save(example_dataset())
    assert files_below(root) == []


@pytest.mark.parametrize(("length", "n_episodes", "state_dim"), [(1, 200, 1), (7, 200, 4), (130, 60, 11), (600, 9, 60)])
def test_what_a_dataset_takes_on_disk_is_never_underestimated(length: int, n_episodes: int, state_dim: int) -> None:
    dataset = example_dataset(lengths=(length,) * n_episodes, ends="t" * n_episodes, state_dim=state_dim)
    folder = save(dataset)
    taken = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    assert taken < minari_store._bytes_needed(dataset.trajectories)


def test_a_full_disk_leaves_what_was_to_be_overwritten(monkeypatch: pytest.MonkeyPatch) -> None:
    save(example_dataset())
    break_writing(monkeypatch, FULL[0])
    with pytest.raises(DataError, match="the disk is full"):
        save(example_dataset(lengths=(2,), ends="t"), overwrite=True)
    assert_equal(load("local/example/tiny-v0").trajectories, example_dataset().trajectories)


def test_a_disk_that_fills_while_the_packed_copy_is_written_leaves_nothing(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise FULL[0]

    monkeypatch.setattr("dtag.data.packed_cache.np.save", full)
    with pytest.raises(DataError, match="the disk is full"):
        save(example_dataset())
    assert files_below(root) == []


def test_an_interruption_leaves_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    break_writing(monkeypatch, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        save(example_dataset())
    assert files_below(root) == []


def test_a_killed_writers_remains_are_not_listed(root: Path) -> None:
    save(example_dataset())
    (root / ".dtag-writing-abc" / "dataset" / "data").mkdir(parents=True)
    assert [dataset.id for dataset in local_datasets()] == ["local/example/tiny-v0"]
    assert list(minari.list_local_datasets()) == ["local/example/tiny-v0"]


def test_remains_are_removed_by_a_later_save_when_they_are_old(root: Path) -> None:
    for name, age in (("old", 2), ("new", 0)):
        left = root / f".dtag-writing-{name}"
        left.mkdir(parents=True)
        os.utime(left, times=(left.stat().st_mtime - age * 86_400,) * 2)
    save(example_dataset())
    assert [path.name for path in root.glob(".*")] == [".dtag-writing-new"]


def test_an_interruption_of_the_renaming_puts_the_old_dataset_back(monkeypatch: pytest.MonkeyPatch) -> None:
    save(example_dataset())
    rename = os.rename

    def broken(source: Path, target: Path) -> None:
        if Path(source).name == "dataset":
            raise KeyboardInterrupt
        rename(source, target)

    monkeypatch.setattr(minari_store.os, "rename", broken)
    with pytest.raises(KeyboardInterrupt):
        save(example_dataset(lengths=(2,), ends="t"), overwrite=True)
    assert load("local/example/tiny-v0").trajectories.n_steps == 9


def test_a_second_writer_of_the_same_id_is_told_and_the_first_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    put = minari_store._put_in_place

    def late(staged: Path, target: Path, *rest: Any) -> None:
        (target / "data").mkdir(parents=True)
        put(staged, target, *rest)

    monkeypatch.setattr(minari_store, "_put_in_place", late)
    with pytest.raises(DataError, match="was written by another process in the meantime"):
        save(example_dataset())


def test_progress_ends_with_all_episodes() -> None:
    seen: list[tuple[int, int]] = []
    save(example_dataset(), progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (3, 3)


def test_a_loaded_dataset_is_mapped_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    save(example_dataset())
    monkeypatch.setattr(minari_dataset, "_read", None)
    states = load("local/example/tiny-v0").trajectories.states
    assert isinstance(states.base, np.memmap)
    assert not states.flags.writeable


def test_the_packed_copy_is_made_again_when_the_data_changed_or_it_is_damaged(root: Path) -> None:
    folder = save(example_dataset())
    packed = next((folder / "packed").iterdir())
    (packed / "rewards.npy").write_bytes(b"")
    assert_equal(load("local/example/tiny-v0").trajectories, example_dataset().trajectories)
    os.utime(folder / "data" / "main_data.hdf5")
    assert_equal(load("local/example/tiny-v0").trajectories, example_dataset().trajectories)
    again = [path.name for path in (folder / "packed").iterdir()]
    assert len(again) == 1
    assert again != [packed.name]


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS])
def test_the_packed_copy_goes_to_the_cache_where_the_dataset_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    from dtag.data import packed_cache

    folder = save(example_dataset())
    remove_packed(folder)
    write = packed_cache._write

    def guarded(trajectories: Trajectories, where: Path, fingerprint: str) -> Path:
        if where.is_relative_to(folder):
            raise OSError(number, "read-only")
        return write(trajectories, where, fingerprint)

    monkeypatch.setattr(packed_cache, "_write", guarded)
    loaded = load("local/example/tiny-v0").trajectories
    assert_equal(loaded, example_dataset().trajectories)
    assert isinstance(loaded.states.base, np.memmap)
    assert list((tmp_path / "cache" / "packed").rglob("states.npy"))


def test_two_processes_that_pack_at_once_leave_one_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    from dtag.data import packed_cache

    folder = save(example_dataset())
    packed = next((folder / "packed").iterdir())
    # The other's copy came after the cleaning.
    monkeypatch.setattr(packed_cache.shutil, "rmtree", lambda *_, **__: None)
    assert packed_cache.save_packed(example_dataset().trajectories, folder) == packed
    assert_equal(load("local/example/tiny-v0").trajectories, example_dataset().trajectories)


def test_a_dataset_without_room_for_a_packed_copy_still_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    remove_packed(save(example_dataset()))

    def full(*_: Any) -> None:
        raise FULL[0]

    monkeypatch.setattr(minari_dataset, "save_packed", full)
    assert_equal(load("local/example/tiny-v0").trajectories, example_dataset().trajectories)
