"""Maze datasets made here after D4RL's maze2d protocol (Fu et al. 2020, App. C), and returns that score 0 and 100."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version

import numpy as np
from numpy.typing import NDArray

from dtag.data.dataset import Dataset, DatasetInfo, Reference
from dtag.data.pointmaze_environment import Maze, PointMaze, find_maze, goal_reward
from dtag.data.trajectories import Trajectories
from dtag.data.waypoint_controller import WaypointController
from dtag.errors import UsageError

SEGMENTATIONS = ("goal", "limit")
PACKAGES = ("mujoco", "gymnasium", "gymnasium-robotics", "numpy")

REFERENCE_COMMAND = "measure_reference(size, reward, n_episodes=1000, seed=0)"

# Made by REFERENCE_COMMAND with mujoco 3.15.0. D4RL's own constants (umaze 23.85 / 161.86, medium 13.13 / 277.39, large
# 6.7 / 273.99) are single 100-episode means with a controller that does not replan; `replan=False` gives all twelve
# back to within 1.1 of their standard errors, so it is the controller that differs, not the maze.
REFERENCES = {
    ("umaze", "sparse"): Reference(30.86, 224.92, "local"),
    ("umaze", "dense"): Reference(75.03, 236.96, "local"),
    ("medium", "sparse"): Reference(16.21, 418.18, "local"),
    ("medium", "dense"): Reference(42.22, 433.24, "local"),
    ("large", "sparse"): Reference(11.42, 548.29, "local"),
    ("large", "dense"): Reference(37.24, 568.92, "local"),
}


def make_point_maze_dataset(
    size: str,
    *,
    n_steps: int,
    seed: int,
    reward: str = "sparse",
    noise: float = 0.5,
    segmentation: str = "goal",
    progress: Callable[[int, int], None] | None = None,
) -> Dataset:
    """One run without resets of the waypoint controller visiting random goals, paid for the evaluation's fixed goal.

    size: umaze, medium, large. reward: sparse or dense. noise: std of the Gaussian added to each action before
    clipping (D4RL's --noisy). progress: called with (steps done, n_steps) every 10,000 steps.
    segmentation, where an episode is cut (always `truncated`, never `terminated`):
    "goal" - D4RL's: where the controller reaches its current random goal, or after the evaluation's step limit.
    Episodes are short, and few hold more than a pass by the paid goal.
    "limit" - every 300 / 600 / 800 steps, for sequence models that must run that long: every timestep of an evaluation
    is trained, and returns spread over several visits. The steps are the same; only the cuts differ.

    Differs from D4RL's generator (its issues #85, #194): no stale observation after a goal change, the step limit
    counts exactly, the reward is that of the state reached, as the environment pays it (D4RL's files: of the state
    left), and the true state after every episode's last step is kept.
    """
    if segmentation not in SEGMENTATIONS:
        raise UsageError(f"unknown segmentation '{segmentation}'; choose one of: {', '.join(SEGMENTATIONS)}")
    environment = PointMaze(size, reward)
    states, actions, reached = _roll_out(environment, n_steps, seed, noise, progress)
    limit = environment.maze.max_episode_steps
    truncated = reached if segmentation == "goal" else np.arange(1, n_steps + 1) % limit == 0
    trajectories = Trajectories.from_arrays(
        states[:-1],
        actions,
        goal_reward(states[1:, :2], environment.goal, reward),
        np.zeros(n_steps, bool),
        truncated,
        next_states=states[1:],
        source=f"point maze {size}",
    )
    arguments = {"n_steps": n_steps, "seed": seed, "noise": noise, "segmentation": segmentation}
    return Dataset(trajectories, _describe(size, reward, arguments))


def _describe(size: str, reward: str, arguments: dict[str, object]) -> DatasetInfo:
    name = size + ("-dense" if reward == "dense" else "") + ("-limit" if arguments["segmentation"] == "limit" else "")
    return DatasetInfo(
        id=f"local/pointmaze/{name}-v0",
        environment="dtag.data.pointmaze_environment:make_point_maze",
        environment_kwargs={"size": size, "reward": reward},
        max_episode_steps=find_maze(size).max_episode_steps,
        action_low=(-1.0, -1.0),
        action_high=(1.0, 1.0),
        reference=REFERENCES[size, reward],
        provenance={
            "source": "dtag.data.pointmaze:make_point_maze_dataset, after D4RL's maze2d protocol",
            "arguments": {"size": size, "reward": reward, **arguments},
            "versions": {package: _version(package) for package in PACKAGES},
            "reference": f"random actions and the waypoint controller, {REFERENCE_COMMAND}",
        },
    )


def _roll_out(
    environment: PointMaze, n_steps: int, seed: int, noise: float, progress: Callable[[int, int], None] | None
) -> tuple[NDArray[np.float64], NDArray[np.float32], NDArray[np.bool_]]:
    """states (n_steps + 1, 4), actions (n_steps, 2), and (n_steps,) whether a sub-goal's segment ends with the step."""
    maze = environment.maze
    generator = np.random.default_rng(seed)
    controller = WaypointController(maze.walls, generator)
    states = np.empty((n_steps + 1, 4))
    actions = np.empty((n_steps, 2), np.float32)
    ended = np.zeros(n_steps, bool)
    states[0], _ = environment.reset(seed=seed)
    goal, elapsed = _random_goal(maze, generator), 0
    for step in range(n_steps):
        action, reached = controller.act(states[step], goal)
        # Rounded to what is stored before it is applied, so that replaying the file gives the file's states.
        actions[step] = np.clip(action + noise * generator.standard_normal(2), -1.0, 1.0)
        states[step + 1] = environment.simulate(actions[step])
        elapsed += 1
        if reached or elapsed == maze.max_episode_steps:
            ended[step] = True
            goal, elapsed = _random_goal(maze, generator), 0
        if progress and (step + 1) % 10_000 == 0:
            progress(step + 1, n_steps)
    return states, actions, ended


def _random_goal(maze: Maze, generator: np.random.Generator) -> NDArray[np.float64]:
    cell: NDArray[np.int64] = maze.free_cells[generator.integers(len(maze.free_cells))]
    return cell + generator.uniform(-0.1, 0.1, 2)


def measure_reference(
    size: str, reward: str, n_episodes: int = 100, seed: int = 0, *, replan: bool = True
) -> Reference:
    """Mean returns of uniform random actions and of the noise-free waypoint controller on `make_point_maze`.

    replan: plan from each episode's start. False is how D4RL made its ref_max_score (maze2d_controller.py): one
    controller is kept over all episodes, plans in the first alone and afterwards steers straight at the goal, into
    whatever wall is between. Means of 100 episodes have a standard error of 5 to 40 % for random actions.
    """
    environment = PointMaze(size, reward)
    generator = np.random.default_rng(seed)
    controller = WaypointController(environment.maze.walls, generator)

    def act_randomly(_state: NDArray[np.float64]) -> NDArray[np.float64]:
        return generator.uniform(-1.0, 1.0, 2)

    def follow_waypoints(state: NDArray[np.float64]) -> tuple[float, float]:
        return controller.act(state, environment.goal)[0]

    means = []
    for policy in (act_randomly, follow_waypoints):
        environment.reset(seed=seed)
        total = 0.0
        for _ in range(n_episodes):
            if replan:
                controller.forget()
            positions = _episode_positions(environment, policy)
            total += float(goal_reward(positions, environment.goal, reward).sum())
        means.append(total / n_episodes)
    return Reference(means[0], means[1], "local")


def _episode_positions(
    environment: PointMaze, policy: Callable[[NDArray[np.float64]], NDArray[np.float64] | tuple[float, float]]
) -> NDArray[np.float64]:
    """(T, 2) positions reached over one evaluation episode."""
    state, _ = environment.reset()
    positions = np.empty((environment.maze.max_episode_steps, 2))
    for step in range(len(positions)):
        state = environment.simulate(policy(state))
        positions[step] = state[:2]
    return positions


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
