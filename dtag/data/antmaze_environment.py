"""D4RL's antmaze-*-v2 evaluation (Fu et al. 2020, Sec. 5.2) on Gymnasium-Robotics' ant maze.

Coordinates are D4RL's, so states of its files can be fed in unchanged: (x, y) = (0, 0) is the start cell (1, 1), x grows
along the columns and y along the rows, 4 m a cell. Gymnasium-Robotics' y grows against the rows; since an ant is no mirror
image of itself, its map is built upside down rather than its states turned.

Taken from D4RL instead of Gymnasium-Robotics' defaults (AntMaze_UMaze-v4 and so on):
                    D4RL, here                                  Gymnasium-Robotics
    reward, end     1 and terminated within 0.5 m of the goal   1 a step within 0.45 m, by default without an end
    observation     29: x, y and the ant's 27; goal unseen      27, x and y and the goal in entries of their own
    goal            one cell + U(0, 1) + U(0, 0.5) m a dim      any cell + U(-1, 1) m
    start           cell (1, 1); every joint +-0.1, qvel 0.1 N  any cell + U(-1, 1) m, all joints at rest
    ant             torque 30, 0.1 s a step, solimp .8 .8 .01   torque 150, 0.05 s a step, solimp .9 .95 .001
The goal is drawn anew at every reset, as in v2. A reward of 1 a success is D4RL's; paper 2 learns from reward - 1
(`data.reward_rule: antmaze`).

D4RL ran MuJoCo 2.0, whose contact solver may round differently.
"""

from __future__ import annotations

import contextlib
import os
from typing import Any

import gymnasium
import numpy as np
from gymnasium.wrappers import TimeLimit
from numpy.typing import ArrayLike, NDArray

from dtag.data.environment_facts import robotics_class
from dtag.data.pointmaze_environment import Maze, find_maze

GOAL_RADIUS = 0.5
CELL = 4.0  # m
START = (1, 1)
GOALS = {"umaze": (3, 1), "medium": (6, 6), "large": (7, 9)}
MAX_EPISODE_STEPS = {"umaze": 700, "medium": 1000, "large": 1000}
FRAME_SKIP = 5
TIMESTEP = 0.02  # s
TORQUE = 30.0
SOLIMP = (0.8, 0.8, 0.01)


class AntMaze(gymnasium.Env[NDArray[np.float64], NDArray[np.float32]]):
    """An ant that is paid 1 for reaching a place it cannot observe, which ends the episode; nothing else ends it.

    Observation (29,) float64: qpos (15: x, y, z, orientation, 8 joints) and qvel (14). Action (8,): torques in [-1, 1].
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012 (Gymnasium's own form)

    def __init__(self, size: str = "umaze", render_mode: str | None = None) -> None:
        maze = find_maze(size)
        self.goal_cell, self.goal = GOALS[size], np.zeros(2)
        self.render_mode = render_mode
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (29,), np.float64)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (8,), np.float32)
        self._owner, self._origin = _build_simulator(maze, render_mode)
        self._model, self._data = self._owner.ant_env.model, self._owner.ant_env.data

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float64], dict[str, Any]]:
        import mujoco

        super().reset(seed=seed)
        random = self.np_random
        self.goal = np.maximum(
            _place(self.goal_cell) + random.uniform(0, 0.25 * CELL, 2) + random.uniform(0, 0.5, 2), 0
        )
        ant = self._owner.ant_env
        mujoco.mj_resetData(self._model, self._data)
        self._data.qpos[:] = ant.init_qpos + random.uniform(-0.1, 0.1, self._model.nq)
        self._data.qpos[:2] += self._origin
        self._data.qvel[:] = ant.init_qvel + 0.1 * random.standard_normal(self._model.nv)
        mujoco.mj_forward(self._model, self._data)
        self._model.site("target").pos[:2] = self.goal + self._origin
        return self._state(), {}

    def step(self, action: NDArray[np.float32]) -> tuple[NDArray[np.float64], float, bool, bool, dict[str, Any]]:
        import mujoco

        np.clip(action, -1.0, 1.0, out=self._data.ctrl)
        mujoco.mj_step(self._model, self._data, nstep=FRAME_SKIP)
        state = self._state()
        reached = is_reached(state[:2], self.goal)
        return state, float(reached), reached, False, {"success": reached}

    def render(self) -> Any:
        return self._owner.ant_env.render()

    def close(self) -> None:
        self._owner.ant_env.close()

    def _state(self) -> NDArray[np.float64]:
        state = np.concatenate([self._data.qpos, self._data.qvel])
        state[:2] -= self._origin
        return state


def is_reached(position: ArrayLike, goal: ArrayLike) -> bool:
    """|p - g| <= 0.5 m; both (2,), in D4RL's coordinates."""
    return bool(np.linalg.norm(np.asarray(position, np.float64) - np.asarray(goal, np.float64)) <= GOAL_RADIUS)


def make_ant_maze(
    size: str = "umaze", max_episode_steps: int | None = None, *, render_mode: str | None = None
) -> gymnasium.Env[NDArray[np.float64], NDArray[np.float32]]:
    """The maze as D4RL's antmaze-{size}-v2 evaluates it; its -play and -diverse differ in their data alone.

    size: umaze, medium or large. max_episode_steps: None = D4RL's 700 / 1000 / 1000. render_mode: None or "rgb_array".
    Needs gymnasium-robotics; raises DtagError saying how to install it.
    """
    return TimeLimit(AntMaze(size, render_mode), max_episode_steps or MAX_EPISODE_STEPS[size])


def _place(cell: tuple[int, int]) -> NDArray[np.float64]:
    """(x, y) of a cell's centre (row, column)."""
    return CELL * np.array([cell[1] - START[1], cell[0] - START[0]], np.float64)


def _build_simulator(maze: Maze, render_mode: str | None) -> tuple[Any, NDArray[np.float64]]:
    """Gymnasium-Robotics' AntMazeEnv of the maze with D4RL's ant, and (2,) where its world has D4RL's origin."""
    upside_down = maze.walls[::-1].astype(int).tolist()
    owner = robotics_class("maze.ant_maze_v4:AntMazeEnv", "the ant maze")(maze_map=upside_down, render_mode=render_mode)
    with contextlib.suppress(OSError):
        os.unlink(owner.tmp_xml_file_path)  # it leaves one file per environment in the temporary folder
    model = owner.ant_env.model
    model.opt.timestep = TIMESTEP
    model.actuator_gear[:, 0] = TORQUE
    model.geom_solimp[:, :3] = SOLIMP
    n_rows, n_columns = maze.walls.shape
    origin = CELL * np.array([START[1] + 0.5 - n_columns / 2, START[0] + 0.5 - n_rows / 2])
    return owner, origin
