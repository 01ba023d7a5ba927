from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import gymnasium
import numpy as np
import pytest

from dtag.errors import DtagError
from dtag.rollout.environments import EnvironmentFactory, Environments, InProcess, OverWorkers, make_environments
from tests.reference.toy_environment import LINE, Line, random_agent

HERE = "tests.reference.toy_environment"


@pytest.fixture
def workers() -> Iterator[Callable[..., OverWorkers]]:
    """OverWorkers that are closed when the test ends, however it ends."""
    made: list[OverWorkers] = []

    def make(*arguments: Any) -> OverWorkers:
        made.append(OverWorkers(*arguments))
        return made[-1]

    yield make
    for environments in made:
        environments.close()
        assert not any(process.is_alive() for process in environments.processes)


def _walk(environments: Environments) -> list[np.ndarray]:
    """Resets and steps of changing slots; everything that came back."""
    generator, seen = np.random.default_rng(0), []
    seen.append(environments.reset(range(5), range(20, 25)))
    for slots in ([0, 1, 2, 3, 4], [4, 1], [2], [0, 3, 4], [1, 0]):
        seen.extend(environments.step(slots, generator.uniform(-1, 1, (len(slots), 1)).astype(np.float32)))
    seen.append(environments.reset([3, 1], [7, 8]))
    seen.extend(environments.step([1, 2, 3], np.ones((3, 1), np.float32)))
    return seen


def test_workers_give_what_one_process_does_in_the_order_asked(workers: Callable[..., OverWorkers]) -> None:
    factory = EnvironmentFactory(LINE, {"noise": 0.7})
    here, there = _walk(InProcess(factory, 5)), _walk(workers(factory, 5, 2))
    assert len(here) == len(there) == 1 + 4 * 5 + 1 + 4
    for expected, found in zip(here, there, strict=True):
        assert expected.dtype == found.dtype
        assert np.array_equal(expected, found)
    assert any(part.dtype == bool and part.any() for part in here)


def test_few_slots_or_workers_stay_in_this_process() -> None:
    assert isinstance(make_environments(EnvironmentFactory(LINE), 2), InProcess)
    assert isinstance(make_environments(EnvironmentFactory(LINE), 2, 1), InProcess)


def test_a_worker_that_died_is_a_clear_error(workers: Callable[..., OverWorkers]) -> None:
    environments = workers(EnvironmentFactory(f"{HERE}:Dies"), 2, 2)
    environments.reset([0, 1], [0, 1])
    with pytest.raises(DtagError, match=r"environment worker 0 died \(exit status 7\); use eval\.workers=0"):
        environments.step([0, 1], np.zeros((2, 1), np.float32))


def test_a_worker_that_was_killed_is_a_clear_error(workers: Callable[..., OverWorkers]) -> None:
    environments = workers(EnvironmentFactory(LINE), 2, 2)
    environments.reset([0, 1], [0, 1])
    pid = environments.processes[1].pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    environments.processes[1].join()
    with pytest.raises(DtagError, match=r"environment worker 1 died \(exit status -9\)"):
        environments.step([0, 1], np.zeros((2, 1), np.float32))


def test_what_an_environment_raises_in_a_worker_is_told(workers: Callable[..., OverWorkers]) -> None:
    environments = workers(EnvironmentFactory(f"{HERE}:Raises"), 2, 2)
    environments.reset([0, 1], [0, 1])
    with pytest.raises(DtagError, match="in an environment worker: ValueError: the line broke"):
        environments.step([0, 1], np.zeros((2, 1), np.float32))


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ("NoSuchTask-v0", "cannot make the environment 'NoSuchTask-v0': .*Give a Gymnasium id"),
        ("no_such_package:make", "no_such_package.*package.module:callable"),
        (f"{HERE}:NoSuchName", "NoSuchName"),
        (f"{HERE}:raises", f"'{HERE}:raises': KeyError: 'robot'\\.$"),
        (
            "dtag.data.toy_environments:OneStat",
            "registers no such id; did you mean 'dtag.data.toy_environments:OneState'",
        ),
        ("Hopper-v99", "Hopper-v99.*pip install -e '\\.\\[mujoco\\]'"),
        ("PointMaze_NoSuch-v3", "pip install -e '\\.\\[robotics\\]'"),
    ],
)
def test_what_cannot_be_made_is_one_clear_error(environment: str, message: str) -> None:
    with pytest.raises(DtagError, match=message):
        EnvironmentFactory(environment)()


def test_wrong_arguments_of_an_environment_are_a_clear_error() -> None:
    with pytest.raises(DtagError, match=r"Line.*no_such_argument"):
        EnvironmentFactory(LINE, {"no_such_argument": 1})()


def line_within(low: float, high: float) -> gymnasium.Env[Any, Any]:
    environment = Line()
    environment.action_space = gymnasium.spaces.Box(low, high, (1,), np.float32)
    return environment


def test_a_callable_is_made_with_its_arguments_and_the_limit() -> None:
    environment = EnvironmentFactory(LINE, {"noise": 0.0, "limit": 99}, max_episode_steps=3)()
    assert isinstance(environment.unwrapped, Line)
    environment.reset(seed=0)
    ends = [environment.step(np.zeros(1, np.float32))[2:4] for _ in range(3)]
    assert ends == [(False, False), (False, False), (False, True)]


def test_a_gymnasium_id_takes_the_limit_and_a_module_may_register_it() -> None:
    environment = EnvironmentFactory("Pendulum-v1", {"g": 9.0}, max_episode_steps=2)()
    assert environment.unwrapped.g == 9.0  # type: ignore[attr-defined]
    environment.reset(seed=0)
    assert [environment.step(np.zeros(1, np.float32))[3] for _ in range(2)] == [False, True]
    gymnasium.register("DtagLine-v0", Line)
    try:
        assert isinstance(EnvironmentFactory(f"{HERE}:DtagLine-v0")().unwrapped, Line)
    finally:
        del gymnasium.registry["DtagLine-v0"]


def test_dict_observations_are_joined_in_the_given_order(workers: Callable[..., OverWorkers]) -> None:
    joined = EnvironmentFactory(f"{HERE}:line_of_parts", observation_keys=("previous", "position"))
    assert joined().observation_space.shape == (2,)
    for environments in (InProcess(joined, 2), workers(joined, 2, 2)):
        plain = InProcess(EnvironmentFactory(LINE), 2)
        assert np.array_equal(environments.reset([0, 1], [3, 4]), plain.reset([0, 1], [3, 4])[:, ::-1])
        actions = np.array([[0.5], [-0.5]], np.float32)
        assert np.array_equal(environments.step([0, 1], actions).states, plain.step([0, 1], actions).states[:, ::-1])


def test_an_environment_of_other_dims_than_the_data_is_refused() -> None:
    spec = random_agent().spec
    EnvironmentFactory(LINE).check(spec)
    with pytest.raises(DtagError, match=r"3 state and 1 action dims, the data local/random/test-v0 has 2 and 1.*null"):
        EnvironmentFactory("Pendulum-v1").check(spec)


def test_a_dict_observation_without_keys_is_refused() -> None:
    with pytest.raises(DtagError, match="0 state and 1 action dims"):
        EnvironmentFactory(f"{HERE}:line_of_parts").check(random_agent().spec)


def test_an_environment_with_discrete_actions_is_refused() -> None:
    with pytest.raises(DtagError, match="0 action dims"):
        EnvironmentFactory("CartPole-v1").check(random_agent().spec)


def test_the_limit_of_a_callable_that_has_its_own_can_be_raised() -> None:
    factory = EnvironmentFactory("dtag.data.pointmaze_environment:make_point_maze", {"size": "umaze"}, 310)
    environment = factory()
    environment.reset(seed=0)
    for step in range(1, 311):
        *_, truncated, _ = environment.step(np.zeros(2, np.float32))
        assert truncated is (step == 310)


@pytest.mark.parametrize(
    ("low", "high", "fits"), [(-1.0, 1.0, True), (-2.0, 2.0, True), (-0.4, 1.0, False), (-1.0, 0.4, False)]
)
def test_an_environment_of_narrower_action_bounds_than_the_data_is_refused(low: float, high: float, fits: bool) -> None:
    spec, factory = random_agent().spec, EnvironmentFactory(f"{__name__}:line_within", {"low": low, "high": high})
    if fits:
        factory.check(spec)
        return
    with pytest.raises(DtagError, match=r"takes actions within \[.*0\.4.*\], the data .* within \[-1, 1\]"):
        factory.check(spec)
