"""The waypoint controller: shortest paths on the grid, goals reached in every maze."""

from __future__ import annotations

from collections import deque

import numpy as np
import pytest

from dtag.data.pointmaze_environment import MAZES, PointMaze
from dtag.data.waypoint_controller import MOVES, WaypointController, plan_moves

pytest.importorskip("gymnasium_robotics", reason="pip install -e '.[robotics]' to run the maze tests")


def breadth_first_distances(walls, goal):
    distances, queue = {goal: 0}, deque([goal])
    while queue:
        i, j = queue.popleft()
        for cell in ((i + 1, j), (i - 1, j), (i, j + 1), (i, j - 1)):
            if not walls[cell] and cell not in distances:
                distances[cell] = distances[i, j] + 1
                queue.append(cell)
    return distances


@pytest.mark.parametrize("size", list(MAZES))
def test_the_plan_shortens_the_way_from_every_cell_to_every_goal(size):
    maze = MAZES[size]
    for goal in map(tuple, maze.free_cells.tolist()):
        moves = plan_moves(maze.walls, goal)
        distances = breadth_first_distances(maze.walls, goal)
        assert len(distances) == len(maze.free_cells)
        for (i, j), distance in distances.items():
            move = MOVES[moves[i, j]]
            assert distances[i + move[0], j + move[1]] == max(distance - 1, 0)


@pytest.mark.parametrize("size", list(MAZES))
def test_it_reaches_the_evaluation_goal_from_every_cell_and_stays(size):
    environment = PointMaze(size)
    controller = WaypointController(environment.maze.walls, np.random.default_rng(0))
    environment.reset(seed=0)
    for cell in environment.maze.free_cells:
        controller.forget()
        state, _ = environment.reset(options={"state": (*cell, 0.0, 0.0)})
        reached = []
        for _ in range(environment.maze.max_episode_steps):
            action, at_goal = controller.act(state, environment.goal)
            assert max(map(abs, action)) <= 1.0
            state = environment.simulate(action)
            reached.append(at_goal)
        assert any(reached)
        assert np.linalg.norm(state[:2] - environment.goal) < 0.5


def test_the_action_is_the_clipped_pd_law_towards_the_next_cell():
    controller = WaypointController(MAZES["umaze"].walls, np.random.default_rng(4))
    state = np.array([1.0, 2.0, 0.05, -0.2])
    action, reached = controller.act(state, (1, 1))
    assert not reached
    # One cell to go: the only waypoint is the goal's integer point (1, 1).
    assert action == pytest.approx((10 * 0 - 0.05, -1.0))
    action, reached = controller.act(np.array([1.02, 1.05, 0.3, 0.0]), (1, 1))
    assert not reached  # moved 0.95 since the last call
    action, reached = controller.act(np.array([1.02, 1.04, 0.3, 0.0]), (1, 1))
    assert reached
    assert action == pytest.approx((10 * -0.02 - 0.3, 10 * -0.04))


def test_waypoints_lie_up_to_a_fifth_below_the_integer_points_and_end_at_the_goal():
    controller = WaypointController(MAZES["medium"].walls, np.random.default_rng(0))
    controller.act(np.array([1.0, 1.0, 0.0, 0.0]), (6.05, 5.95))
    waypoints = np.array(controller._waypoints)
    np.testing.assert_array_equal(waypoints[-1], (6, 6))
    below = np.ceil(waypoints) - waypoints
    assert ((below >= 0) & (below <= 0.2)).all()
    assert len(np.unique(below)) > len(waypoints)


def test_it_plans_anew_only_when_the_goals_cell_changes_or_when_told_to():
    controller = WaypointController(MAZES["umaze"].walls, np.random.default_rng(0))
    state = np.array([3.0, 1.0, 0.0, 0.0])
    controller.act(state, (1.0, 1.0))
    first = list(controller._waypoints)
    controller.act(state, (1.08, 0.93))
    assert controller._waypoints == first
    controller.forget()
    controller.act(state, (1.08, 0.93))
    assert controller._waypoints != first
    assert len(controller._waypoints) == len(first)
