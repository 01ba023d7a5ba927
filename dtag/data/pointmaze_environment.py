"""D4RL's maze2d evaluation (Fu et al. 2020, Sec. 5.1) on Gymnasium-Robotics' point maze.

Coordinates are D4RL's throughout, so states of its original files can be fed in unchanged: a state is (x, y, vx, vy),
and (x, y) = (i, j) is row i, column j of the layout. A wall cell (i, j) is a unit square centred on (i - 0.2, j - 0.2),
not on (i, j): D4RL puts the ball's zero 1.2 from the map's corner and the walls 1.0 from it. Hence a cell covers
[i - 0.7, i + 0.3] x [j - 0.7, j + 0.3], and the ball (radius 0.1) can roam [-0.6, 0.2]^2 around its integer point.

Physics (checked by test against a model written from D4RL's maze_model.py): dt 0.01, one simulation step per action,
motors of gear 100 on a 4.19 kg ball, damping 1, velocity clipped to +-5 before each step. Gymnasium-Robotics has the
same layouts and physics. Its origin, goal radius (0.45), goal and start noise (0.25), start at rest and never near the
goal differ, and none of these is used here. D4RL ran MuJoCo 2.0, whose contact solver may round differently.
"""

from __future__ import annotations

import contextlib
import math
import os
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import gymnasium
import numpy as np
from gymnasium.wrappers import TimeLimit
from numpy.typing import ArrayLike, NDArray

from dtag.data.environment_facts import robotics_class
from dtag.errors import UsageError

GOAL_RADIUS = 0.5
WALL_OFFSET = -0.2
REWARDS = ("sparse", "dense")


@dataclass(frozen=True)
class Maze:
    """One of D4RL's layouts: rows of '#' (wall) and ' ' (free), the cell paid for, and the evaluation's length."""

    rows: tuple[str, ...]
    goal: tuple[int, int]
    max_episode_steps: int

    @cached_property
    def walls(self) -> NDArray[np.bool_]:
        """(rows, columns) True where a wall stands."""
        return np.array([[tile == "#" for tile in row] for row in self.rows])

    @cached_property
    def free_cells(self) -> NDArray[np.int64]:
        """(cells, 2) every free cell (i, j), the goal's included."""
        return np.argwhere(~self.walls)


MAZES = {
    "umaze": Maze(("#####", "#   #", "### #", "#   #", "#####"), (1, 1), 300),
    "medium": Maze(
        ("########", "#  ##  #", "#  #   #", "##   ###", "#  #   #", "# #  # #", "#   #  #", "########"), (6, 6), 600
    ),
    "large": Maze(
        (
            "############",
            "#    #     #",
            "# ## # # # #",
            "#      #   #",
            "# #### ### #",
            "#  # #     #",
            "## # # # ###",
            "#  #   #   #",
            "############",
        ),
        (7, 9),
        800,
    ),
}


def find_maze(size: str) -> Maze:
    """The layout of that name. Raises UsageError naming the known ones."""
    if size not in MAZES:
        raise UsageError(f"unknown maze size '{size}'; choose one of: {', '.join(MAZES)}")
    return MAZES[size]


def goal_reward(positions: ArrayLike, goal: ArrayLike, reward: str) -> NDArray[np.float64]:
    """What D4RL pays for being at `positions`: sparse 1(|p - g| <= 0.5), dense exp(-|p - g|).

    positions: (..., 2); the result has the leading shape.
    """
    distance = np.linalg.norm(np.asarray(positions, np.float64) - np.asarray(goal, np.float64), axis=-1)
    return np.asarray(distance <= GOAL_RADIUS, np.float64) if reward == "sparse" else np.exp(-distance)


class PointMaze(gymnasium.Env[NDArray[np.float64], NDArray[np.float32]]):
    """A force-driven ball that is paid, at every step, for being at one fixed cell it cannot observe.

    Observation (4,) float64: x, y, vx, vy. Action (2,): force in [-1, 1] along x and y. Never terminates: it pays on.
    Starts at a random free cell + U(-0.1, 0.1)^2, the goal's cell included, with velocity 0.1 N(0, I);
    `reset(options={"state": (x, y, vx, vy)})` starts exactly there instead.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 100}  # noqa: RUF012 (Gymnasium's own form)

    def __init__(self, size: str = "umaze", reward: str = "sparse", render_mode: str | None = None) -> None:
        if reward not in REWARDS:
            raise UsageError(f"unknown maze reward '{reward}'; choose one of: {', '.join(REWARDS)}")
        self.maze = find_maze(size)
        self.goal = np.array(self.maze.goal, np.float64)
        self.reward = reward
        self.render_mode = render_mode
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (4,), np.float64)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float32)
        self._simulator = _build_simulator(self.maze, render_mode)
        self._forward, self._advance, self._clear = _mujoco_calls()
        self._model, self._data = self._simulator.model, self._simulator.data

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float64], dict[str, Any]]:
        super().reset(seed=seed)
        if options and "state" in options:
            state = np.asarray(options["state"], np.float64)
        else:
            cell = self.maze.free_cells[self.np_random.integers(len(self.maze.free_cells))]
            position = cell + self.np_random.uniform(-0.1, 0.1, 2)
            state = np.concatenate([position, 0.1 * self.np_random.standard_normal(2)])
        self._clear(self._model, self._data)
        self._data.qpos[:], self._data.qvel[:] = state[:2], state[2:]
        self._forward(self._model, self._data)
        return state, {}

    def step(self, action: NDArray[np.float32]) -> tuple[NDArray[np.float64], float, bool, bool, dict[str, Any]]:
        state = self.simulate(action)
        return state, float(goal_reward(state[:2], self.goal, self.reward)), False, False, {}

    def simulate(self, action: ArrayLike) -> NDArray[np.float64]:
        """The state (4,) one step later; `step` without reward and flags, for generating data fast.

        D4RL and Gymnasium-Robotics recompute all forces after clipping the velocity; mj_step does so anyway, so leaving
        that out changes no bit of the result.
        """
        data = self._data
        np.clip(data.qvel, -5.0, 5.0, out=data.qvel)
        np.clip(action, -1.0, 1.0, out=data.ctrl)
        self._advance(self._model, data)
        return np.concatenate([data.qpos, data.qvel])

    def render(self) -> Any:
        return self._simulator.render()

    def close(self) -> None:
        self._simulator.close()


def make_point_maze(
    size: str = "umaze",
    reward: str = "sparse",
    max_episode_steps: int | None = None,
    *,
    render_mode: str | None = None,
) -> gymnasium.Env[NDArray[np.float64], NDArray[np.float32]]:
    """The maze as D4RL's maze2d-{size}[-dense]-v1 evaluates it, cut off after 300 / 600 / 800 steps.

    size: umaze, medium or large. reward: sparse or dense. max_episode_steps: None = D4RL's. render_mode: None or
    "rgb_array". Needs gymnasium-robotics; raises DtagError saying how to install it.
    """
    environment = PointMaze(size, reward, render_mode)
    return TimeLimit(environment, max_episode_steps or environment.maze.max_episode_steps)


def _build_simulator(maze: Maze, render_mode: str | None) -> Any:
    """Gymnasium-Robotics' PointEnv of this maze, re-based so that qpos is D4RL's (x, y).

    Its world has X along the columns and Y against the rows, with the origin at the map's centre. Turning the two slide
    joints' axes and moving the body puts D4RL's frame on it without touching the walls, the camera or the dynamics.
    """
    maze_class = robotics_class("maze.point_maze:PointMazeEnv", "the point maze")
    owner = maze_class(maze_map=maze.walls.astype(int).tolist(), render_mode=render_mode)
    with contextlib.suppress(OSError):
        os.unlink(owner.tmp_xml_file_path)  # it leaves one file per environment in the temporary folder
    simulator = owner.point_env
    model = simulator.model
    n_rows, n_columns = maze.walls.shape
    half = 0.5 - WALL_OFFSET
    model.body("particle").pos[:2] = (half - n_columns / 2, n_rows / 2 - half)
    model.joint("ball_x").axis[:] = (0.0, -1.0, 0.0)
    model.joint("ball_y").axis[:] = (1.0, 0.0, 0.0)
    model.site("target").pos[:2] = model.body("particle").pos[:2] + np.array([maze.goal[1], -maze.goal[0]])
    return simulator


def _mujoco_calls() -> tuple[Any, Any, Any]:
    import mujoco

    return mujoco.mj_forward, mujoco.mj_step, mujoco.mj_resetData


def cell_of(position: ArrayLike) -> tuple[int, int]:
    """The cell whose square holds the point (2,). Not the rounded point: squares are centred 0.2 below the integers."""
    x, y = np.asarray(position, np.float64).tolist()
    return math.floor(x + 0.5 - WALL_OFFSET), math.floor(y + 0.5 - WALL_OFFSET)
