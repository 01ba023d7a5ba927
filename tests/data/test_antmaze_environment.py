"""The ant maze: D4RL's coordinates, walls, goals, ant, reward and end, on Gymnasium-Robotics' simulator."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("gymnasium_robotics", reason="pip install -e '.[robotics]' to run the ant maze tests")

import mujoco

from dtag.data.antmaze_environment import GOALS, AntMaze, make_ant_maze
from dtag.data.pointmaze_environment import MAZES
from dtag.errors import UsageError

SIZES = list(MAZES)


def put(maze: AntMaze, x: float, y: float, z: float = 0.75) -> None:
    """The ant at rest at (x, y) of D4RL, its torso z metres up."""
    maze._data.qpos[:] = maze._owner.ant_env.init_qpos
    maze._data.qpos[:3] = (maze._origin[0] + x, maze._origin[1] + y, z)
    maze._data.qvel[:] = 0
    mujoco.mj_forward(maze._model, maze._data)


@pytest.mark.parametrize("size", SIZES)
def test_walls_stand_where_d4rl_puts_them(size: str) -> None:
    maze = AntMaze(size)
    model, walls = maze._model, MAZES[size].walls
    found = {
        tuple(np.round(model.geom(g).pos[:2] - maze._origin, 6))
        for g in range(model.ngeom)
        if model.geom(g).name.startswith("block")
    }
    # d4rl/locomotion/maze_env.py: block (i, j) at (j * 4 - 4, i * 4 - 4), the start cell being (1, 1)
    assert found == {(j * 4.0 - 4.0, i * 4.0 - 4.0) for i, j in np.argwhere(walls)}
    assert {tuple(model.geom(g).size) for g in range(model.ngeom) if model.geom(g).name.startswith("block")} == {
        (2, 2, 1)
    }


def test_the_ant_is_d4rls() -> None:
    model = AntMaze()._model
    assert model.opt.timestep == 0.02
    assert (model.actuator_gear[:, 0] == 30).all()
    assert (model.actuator_ctrlrange == [-1, 1]).all()
    np.testing.assert_allclose(model.geom_solimp[:, :3], np.tile([0.8, 0.8, 0.01], (model.ngeom, 1)))
    assert (model.nq, model.nv, model.nu) == (15, 14, 8)


@pytest.mark.parametrize("size", SIZES)
def test_starts_and_goals_are_drawn_where_d4rl_draws_them(size: str) -> None:
    maze = AntMaze(size)
    starts, goals = [], []
    for seed in range(200):
        starts.append(maze.reset(seed=seed)[0])
        goals.append(maze.goal.copy())
    assert np.abs(np.array(starts)[:, :2]).max() <= 0.1
    assert np.array(starts)[:, :2].std() == pytest.approx(0.2 / 12**0.5, rel=0.1)
    assert np.array(starts)[:, 15:].std() == pytest.approx(0.1, rel=0.05)
    row, column = GOALS[size]
    offset = np.array(goals) - [4 * (column - 1), 4 * (row - 1)]
    assert offset.min() >= 0
    assert offset.max() <= 1.5
    assert offset.mean() == pytest.approx(0.75, abs=0.05)
    assert not MAZES[size].walls[row, column]


@pytest.mark.parametrize("size", SIZES)
def test_the_first_reward_is_1_and_terminates_within_half_a_metre_of_the_goal(size: str) -> None:
    maze = AntMaze(size)
    for distance, reached in ((0.44, True), (0.47, True), (0.7, False)):  # 0.47: outside Gymnasium-Robotics' radius
        maze.reset(seed=1)
        put(maze, *(maze.goal - [distance, 0.0]), z=4.0)  # falls freely, so that it stays above its place
        state, reward, terminated, truncated, _ = maze.step(np.zeros(8, np.float32))
        assert np.linalg.norm(state[:2] - maze.goal) == pytest.approx(distance, abs=0.01)
        assert (reward, terminated, truncated) == (float(reached), reached, False)


@pytest.mark.parametrize(("size", "limit"), [("umaze", 700), ("medium", 1000), ("large", 1000)])
def test_an_episode_that_never_arrives_is_truncated_after_d4rls_limit(size: str, limit: int) -> None:
    assert make_ant_maze(size)._max_episode_steps == limit
    maze, ended, n = make_ant_maze(size, 9), False, 0
    maze.reset(seed=0)
    while not ended:
        _, reward, terminated, truncated, _ = maze.step(np.zeros(8, np.float32))
        ended, n = terminated or truncated, n + 1
        assert (reward, terminated) == (0.0, False)
    assert n == 9


def test_an_ant_walks_up_y_and_is_stopped_by_the_walls() -> None:
    maze = AntMaze("umaze")
    maze.reset(seed=0)
    for speed, dim in ((3.0, 0), (3.0, 1), (-3.0, 1)):  # the start has its way along x open, along y shut
        put(maze, 0.0, 0.0)
        for _ in range(40):
            maze._data.qvel[dim] = speed
            state = maze.step(np.zeros(8, np.float32))[0]
        if dim == 0:
            assert state[0] > 4.0
        else:
            assert abs(state[1]) < 2.0


def test_a_seed_repeats_an_episode() -> None:
    def run(maze: AntMaze) -> np.ndarray:
        generator = np.random.default_rng(0)
        first = maze.reset(seed=5)[0]
        return np.array([first, *(maze.step(generator.uniform(-1, 1, 8))[0] for _ in range(20))])

    maze = AntMaze("medium")
    once = run(maze)
    maze.reset(seed=9)
    np.testing.assert_array_equal(run(maze), once)
    np.testing.assert_array_equal(run(AntMaze("medium")), once)


def test_an_unknown_size_names_the_known_ones() -> None:
    with pytest.raises(UsageError, match="umaze, medium, large"):
        make_ant_maze("ultra")
