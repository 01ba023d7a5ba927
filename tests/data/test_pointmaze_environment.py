"""The maze evaluation is D4RL's: layouts, physics, goal, reward, starts, length."""

from __future__ import annotations

import subprocess
import sys

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from dtag.data.pointmaze_environment import MAZES, PointMaze, cell_of, find_maze, goal_reward, make_point_maze
from dtag.errors import DtagError, UsageError

maps = pytest.importorskip(
    "gymnasium_robotics.envs.maze.maps", reason="pip install -e '.[robotics]' to run the maze tests"
)
mujoco = pytest.importorskip("mujoco")

SIZES = ("umaze", "medium", "large")


def d4rl_model(walls: np.ndarray) -> mujoco.MjModel:
    """The model D4RL's maze_model.py describes: ball at (1.2, 1.2), walls at (i + 1, j + 1)."""
    boxes = "".join(
        f'<geom conaffinity="1" type="box" pos="{i + 1.0} {j + 1.0} 0" size="0.5 0.5 0.2"/>'
        for i, j in np.argwhere(walls)
    )
    return mujoco.MjModel.from_xml_string(f"""
        <mujoco>
          <compiler inertiafromgeom="true" angle="radian"/>
          <option timestep="0.01" gravity="0 0 0" iterations="20" integrator="Euler"/>
          <default>
            <joint damping="1" limited="false"/>
            <geom friction=".5 .1 .1" density="1000" margin="0.002" condim="1" contype="2" conaffinity="1"/>
          </default>
          <worldbody>
            <geom size="40 40 0.25" pos="0 0 -0.1" type="plane" contype="1" conaffinity="0"/>
            <body pos="1.2 1.2 0">
              <geom type="sphere" size="0.1" contype="1"/>
              <joint name="x" type="slide" axis="1 0 0"/>
              <joint name="y" type="slide" axis="0 1 0"/>
            </body>
            {boxes}
          </worldbody>
          <actuator>
            <motor joint="x" ctrlrange="-1 1" ctrllimited="true" gear="100"/>
            <motor joint="y" ctrlrange="-1 1" ctrllimited="true" gear="100"/>
          </actuator>
        </mujoco>""")


def bumpy_actions(n_steps: int, seed: int = 0) -> np.ndarray:
    """(n_steps, 2) float32, held for 25 steps each so that the ball runs into walls."""
    return (
        np.random.default_rng(seed)
        .uniform(-1, 1, (n_steps // 25 + 1, 2))
        .repeat(25, axis=0)[:n_steps]
        .astype(np.float32)
    )


@pytest.mark.parametrize("size", SIZES)
def test_the_physics_is_that_of_d4rls_model(size):
    environment = PointMaze(size)
    state, _ = environment.reset(seed=1)
    model = d4rl_model(environment.maze.walls)
    data = mujoco.MjData(model)
    n_contacts = 0
    for action in bumpy_actions(5000):
        data.qpos[:], data.qvel[:] = state[:2], np.clip(state[2:], -5, 5)
        mujoco.mj_forward(model, data)
        data.ctrl[:] = action
        mujoco.mj_step(model, data)
        n_contacts += data.ncon > 1  # the ground is always one
        state = environment.simulate(action)
        # Free flight agrees to rounding, contacts to the tolerance at which the solver stops (velocities are some 5).
        tolerance = 1e-13 if data.ncon == 1 else 1e-5
        np.testing.assert_allclose(state, np.concatenate([data.qpos, data.qvel]), rtol=0, atol=tolerance)
    assert n_contacts > 300


@pytest.mark.parametrize(("size", "name"), [("umaze", "U_MAZE"), ("medium", "MEDIUM_MAZE"), ("large", "LARGE_MAZE")])
def test_gymnasium_robotics_has_the_same_layouts(size, name):
    np.testing.assert_array_equal(MAZES[size].walls, np.array(getattr(maps, name)) == 1)


def test_direct_stepping_equals_gymnasium_robotics_step():
    environment = PointMaze("medium")
    state, _ = environment.reset(seed=0)
    simulator = environment._simulator
    actions = bumpy_actions(1500)
    direct = [environment.simulate(action) for action in actions]
    environment.reset(options={"state": state})
    through_step = [simulator.step(action)[0] for action in actions]
    np.testing.assert_array_equal(direct, through_step)
    environment.reset(options={"state": state})
    np.testing.assert_array_equal(direct, [environment.step(action)[0] for action in actions])


@pytest.mark.parametrize(
    ("size", "goal", "limit"), [("umaze", (1, 1), 300), ("medium", (6, 6), 600), ("large", (7, 9), 800)]
)
def test_goal_and_length_are_d4rls(size, goal, limit):
    environment = make_point_maze(size)
    np.testing.assert_array_equal(environment.unwrapped.goal, goal)
    environment.reset(seed=0, options={"state": (*goal, 0.0, 0.0)})
    rest = np.zeros(2, np.float32)
    outcomes = [environment.step(rest) for _ in range(limit)]
    assert sum(reward for _, reward, *_ in outcomes) == limit  # it pays on at the goal
    assert not any(terminated for _, _, terminated, _, _ in outcomes)
    assert [truncated for *_, truncated, _ in outcomes] == [False] * (limit - 1) + [True]


def test_a_shorter_limit_can_be_asked_for():
    environment = make_point_maze("umaze", max_episode_steps=3)
    environment.reset(seed=0)
    assert [environment.step(np.zeros(2, np.float32))[3] for _ in range(3)] == [False, False, True]


def test_sparse_reward_includes_the_boundary():
    positions = np.array([[1.5, 1.0], [1.0, 0.5], [np.nextafter(1.5, 2), 1.0], [1.3, 1.4], [1.3, 1.41]])
    np.testing.assert_array_equal(goal_reward(positions, (1, 1), "sparse"), [1, 1, 0, 1, 0])
    np.testing.assert_allclose(goal_reward(positions[:2], (1, 1), "dense"), np.exp(-0.5), rtol=1e-15)


def test_the_environment_pays_for_the_state_reached():
    for reward in ("sparse", "dense"):
        environment = make_point_maze("umaze", reward)
        environment.reset(seed=0, options={"state": (1.0, 1.45, 0.0, 5.0)})
        paid = []
        for _ in range(4):
            state, amount, *_ = environment.step(np.zeros(2, np.float32))
            distance = np.hypot(state[0] - 1, state[1] - 1)
            assert amount == (float(distance <= 0.5) if reward == "sparse" else pytest.approx(np.exp(-distance)))
            paid.append(amount)
        assert paid[0] > paid[-1]


@pytest.mark.parametrize("size", SIZES)
def test_starts_cover_every_free_cell_with_d4rls_noise(size):
    environment = make_point_maze(size)
    starts = np.array([environment.reset(seed=seed)[0] for seed in range(1500)])
    cells = np.round(starts[:, :2])
    assert len(np.unique(cells, axis=0)) == len(find_maze(size).free_cells)
    assert (cells == find_maze(size).goal).all(axis=1).any()
    noise = starts[:, :2] - cells
    assert 0.09 < np.abs(noise).max() <= 0.1
    assert starts[:, 2:].std() == pytest.approx(0.1, rel=0.1)
    assert all(not find_maze(size).walls[cell_of(start[:2])] for start in starts)


def test_the_seed_decides_the_episode_whatever_went_before():
    first, second = make_point_maze("umaze"), make_point_maze("umaze")
    second.reset(seed=7)
    for action in bumpy_actions(100, seed=3):
        second.step(action)
    runs = []
    for environment in (first, second):
        states = [environment.reset(seed=5)[0]] + [environment.step(action)[0] for action in bumpy_actions(200)]
        runs.append([*states, environment.reset()[0]])
    np.testing.assert_array_equal(runs[0], runs[1])
    assert not np.array_equal(first.reset(seed=6)[0], runs[0][0])


def test_actions_beyond_the_bounds_count_as_the_bounds():
    runs = []
    for scale in (1.0, 50.0):
        environment = PointMaze("umaze")
        environment.reset(seed=0)
        runs.append([environment.simulate(np.array([scale, -scale])) for _ in range(20)])
    np.testing.assert_array_equal(*runs)


def test_a_cell_reaches_from_its_integer_point_less_far_up_than_down():
    assert cell_of((1.29, 1.31)) == (1, 2)
    assert cell_of((0.31, 0.29)) == (1, 0)


def test_it_is_a_valid_gymnasium_environment():
    environment = PointMaze("umaze")
    with pytest.warns(UserWarning, match="spec|infinity"):  # unbounded observations and no spec: both meant
        check_env(environment, skip_render_check=True)
    assert isinstance(environment, gymnasium.Env)


def test_unknown_names_are_answered_with_the_known_ones():
    with pytest.raises(UsageError, match="umaze, medium, large"):
        make_point_maze("huge")
    with pytest.raises(UsageError, match="sparse, dense"):
        make_point_maze("umaze", "shaped")


def test_without_gymnasium_robotics_the_message_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "gymnasium_robotics.envs.maze.point_maze", None)
    with pytest.raises(DtagError, match=r"pip install -e '\.\[robotics\]'"):
        make_point_maze("umaze")


def test_making_one_prints_nothing_and_leaves_no_file(tmp_path):
    code = "from dtag.data.pointmaze_environment import make_point_maze; make_point_maze('umaze').reset(seed=0)"
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"TMPDIR": str(tmp_path), "PATH": ""},
    )
    assert run.stdout == ""
    assert run.stderr == ""
    assert list(tmp_path.iterdir()) == []
