"""D4RL's maze planner: shortest path on the grid, followed by a PD controller (Fu et al. 2020, App. C).

Read from D4RL's waypoint_controller.py and q_iteration.py (Farama-Foundation/D4RL, 61b0d257).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dtag.data.pointmaze_environment import cell_of

PROPORTIONAL_GAIN = 10.0
DERIVATIVE_GAIN = -1.0
REACHED = 0.1

Cell = tuple[int, int]

# Order decides ties between equally short paths; D4RL's is stay, -y, +y, -x, +x.
MOVES: tuple[Cell, ...] = ((0, 0), (0, -1), (0, 1), (-1, 0), (1, 0))


def plan_moves(walls: NDArray[np.bool_], goal: Cell, n_sweeps: int = 50, discount: float = 0.99) -> NDArray[np.int64]:
    """(rows, columns) index into MOVES of the best move from each cell, by value iteration on the grid.

    Q(c, a) = 1(c = goal) + discount * V(c + a), V = max_a Q; a move into a wall stays. The border must be wall.
    """
    paid = np.zeros(walls.shape)
    paid[goal] = 1.0
    blocked = [np.roll(walls, (-move[0], -move[1]), (0, 1)) for move in MOVES]
    q = np.zeros((len(MOVES), *walls.shape))
    for _ in range(n_sweeps):
        value = q.max(axis=0)
        for number, (row, column) in enumerate(MOVES):
            q[number] = paid + discount * np.where(blocked[number], value, np.roll(value, (-row, -column), (0, 1)))
    best: NDArray[np.int64] = q.argmax(axis=0)
    return best


class WaypointController:
    """Drives the ball to a goal's cell through the centres of the cells between.

    Waypoints: the cells of the shortest path, each minus U(0, 0.2)^2, the last one the goal cell's integer point.
    Action: clip(10 (waypoint - position) - velocity, +-1). The next waypoint is taken within 0.1 of the current one,
    having moved less than 0.1 since the last call. `walls`: (rows, columns) bool.

    Like D4RL's it plans only when the goal's cell changes; call `forget` when the ball was put elsewhere.
    Differs from D4RL: the ball's cell is the square it is in, not its rounded position, which next to a wall can be the
    wall's cell and give a path through it.
    """

    def __init__(self, walls: NDArray[np.bool_], generator: np.random.Generator) -> None:
        self._walls = walls
        self._generator = generator
        self._plans: dict[Cell, NDArray[np.int64]] = {}
        self.forget()

    def forget(self) -> None:
        """Plan afresh at the next call."""
        self._goal: Cell | None = None
        self._waypoints: list[tuple[float, float]] = []
        self._next = 0
        self._previous = (0.0, 0.0)

    def act(
        self, state: NDArray[np.float64], goal: Sequence[float] | NDArray[np.float64]
    ) -> tuple[tuple[float, float], bool]:
        """The action in [-1, 1]^2 and whether the goal's cell point is reached (within 0.1). state: (4,)."""
        x, y, velocity_x, velocity_y = state.tolist()  # plain floats: five times as fast as arrays of two
        goal_cell = cell_of(goal)
        if goal_cell != self._goal:
            self._plan(cell_of((x, y)), goal_cell)
        settled = math.hypot(self._previous[0] - x, self._previous[1] - y) < REACHED
        reached = settled and math.hypot(goal_cell[0] - x, goal_cell[1] - y) < REACHED
        waypoint = goal_cell if reached else self._waypoints[self._next]
        if settled and not reached and math.hypot(waypoint[0] - x, waypoint[1] - y) < REACHED:
            self._next += 1
        self._previous = (x, y)
        force_x = PROPORTIONAL_GAIN * (waypoint[0] - x) + DERIVATIVE_GAIN * velocity_x
        force_y = PROPORTIONAL_GAIN * (waypoint[1] - y) + DERIVATIVE_GAIN * velocity_y
        return (min(max(force_x, -1.0), 1.0), min(max(force_y, -1.0), 1.0)), reached

    def _plan(self, start: Cell, goal: Cell) -> None:
        if goal not in self._plans:
            self._plans[goal] = plan_moves(self._walls, goal)
        moves, cell = self._plans[goal], start
        self._waypoints = []
        while cell != goal:
            move = MOVES[moves[cell]]
            cell = (cell[0] + move[0], cell[1] + move[1])
            shift = self._generator.uniform(0.0, 0.2, 2).tolist() if cell != goal else (0.0, 0.0)
            self._waypoints.append((cell[0] - shift[0], cell[1] - shift[1]))
        self._waypoints = self._waypoints or [(float(goal[0]), float(goal[1]))]
        self._goal, self._next, self._previous = goal, 0, (float(start[0]), float(start[1]))
