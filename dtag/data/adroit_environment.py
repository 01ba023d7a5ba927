"""D4RL's Adroit tasks (Rajeswaran et al. 2018; Fu et al. 2020, Sec. 5.3) on Gymnasium-Robotics' hand.

Gymnasium-Robotics has the same models, observations, actions (24 to 30 positions in [-1, 1]) and 5 simulation steps an
action. Three things differ from D4RL's environments, and D4RL's are used here:

1. The distance from the palm to what it is to hold costs 0.1 a metre (door, hammer, relocate); Gymnasium-Robotics 1.2.1
   to 1.4.2 pay it as a bonus (its pull request 220).
2. Pen terminates when the pen falls, with that step's -5; Gymnasium-Robotics goes on, paying -5 a step.
3. Pen is cut off after 100 steps, the others after 200; Gymnasium-Robotics has 200 for all.

Rewards are D4RL's, in its units: paper 2 divides them by 100 (hammer by 1000) in `data.reward_divisor`, not here, so that
scores stay D4RL's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from gymnasium.wrappers import TimeLimit
from numpy.typing import NDArray

from dtag.data.environment_facts import robotics_class
from dtag.errors import UsageError

FALLEN = 0.075  # m above the table, below which the pen is lost

Simulator = Any  # a Gymnasium-Robotics hand: .data, .model and the ids of its sites and bodies


def pen_reward(hand: Simulator) -> float:
    """-|p - p*| + o.o* + 10 [near, o.o* > 0.9] + 50 [near, o.o* > 0.95] - 5 [fallen],  near: |p - p*| < 0.075 m.

    p: the pen's position, o: its direction over its length; starred: the target's.
    """
    sites, position = hand.data.site_xpos, hand.data.xpos[hand.obj_body_id]
    distance = _distance(position, sites[hand.eps_ball_site_id])
    direction = (sites[hand.obj_t_site_id] - sites[hand.obj_b_site_id]) / hand.pen_length
    wanted = (sites[hand.tar_t_site_id] - sites[hand.tar_b_site_id]) / hand.tar_length
    likeness, near = float(direction @ wanted), distance < 0.075
    bonus = 10.0 * (near and likeness > 0.9) + 50.0 * (near and likeness > 0.95)
    return likeness - distance + bonus - 5.0 * has_fallen(hand)


def has_fallen(hand: Simulator) -> bool:
    """Whether the pen lies lower than the hand could hold it."""
    return bool(hand.data.xpos[hand.obj_body_id][2] < FALLEN)


def hammer_reward(hand: Simulator) -> float:
    """-0.1 |palm - hammer| - |head - nail| - 10 |nail - goal| - 0.01 |qvel| + 2 [lifted] + 25 [nail within 2 cm]
    + 75 [within 1 cm],  lifted: hammer and head above 4 cm.
    """
    sites, hammer = hand.data.site_xpos, hand.data.xpos[hand.obj_body_id]
    palm, head = sites[hand.S_grasp_site_id], sites[hand.tool_site_id]
    nail, goal = sites[hand.target_obj_site_id], sites[hand.goal_site_id]
    left = _distance(nail, goal)
    cost = 0.1 * _distance(palm, hammer) + _distance(head, nail) + 10.0 * left
    speed = float(np.linalg.norm(hand.data.qvel))
    bonus = 2.0 * (hammer[2] > 0.04 and head[2] > 0.04) + 25.0 * (left < 0.02) + 75.0 * (left < 0.01)
    return float(bonus - cost - 0.01 * speed)


def door_reward(hand: Simulator) -> float:
    """-0.1 |palm - handle| - 0.1 (hinge - 1.57)^2 - 1e-5 |qvel|^2 + 2 [hinge > 0.2] + 8 [hinge > 1] + 10 [hinge > 1.35]"""
    hinge = float(hand.data.qpos[hand.door_hinge_addrs])
    palm, handle = hand.data.site_xpos[hand.grasp_site_id], hand.data.site_xpos[hand.handle_site_id]
    cost = 0.1 * _distance(palm, handle) + 0.1 * (hinge - 1.57) ** 2 + 1e-5 * float(np.square(hand.data.qvel).sum())
    return 2.0 * (hinge > 0.2) + 8.0 * (hinge > 1.0) + 10.0 * (hinge > 1.35) - cost


def relocate_reward(hand: Simulator) -> float:
    """-0.1 |palm - ball| + [lifted] (1 - 0.5 |palm - goal| - 0.5 |ball - goal|) + 10 [|ball - goal| < 0.1]
    + 20 [|ball - goal| < 0.05],  lifted: the ball above 4 cm.
    """
    ball = hand.data.xpos[hand.obj_body_id]
    palm, goal = hand.data.site_xpos[hand.S_grasp_site_id], hand.data.site_xpos[hand.target_obj_site_id]
    left = _distance(ball, goal)
    carried = 1.0 - 0.5 * _distance(palm, goal) - 0.5 * left if ball[2] > 0.04 else 0.0
    return carried - 0.1 * _distance(palm, ball) + 10.0 * (left < 0.1) + 20.0 * (left < 0.05)


@dataclass(frozen=True)
class Task:
    """hand: the class in Gymnasium-Robotics. max_episode_steps: D4RL's. reward, fails: asked after each step."""

    hand: str
    max_episode_steps: int
    reward: Callable[[Simulator], float]
    fails: Callable[[Simulator], bool] = lambda _: False


TASKS = {
    "pen": Task("adroit_pen:AdroitHandPenEnv", 100, pen_reward, has_fallen),
    "hammer": Task("adroit_hammer:AdroitHandHammerEnv", 200, hammer_reward),
    "door": Task("adroit_door:AdroitHandDoorEnv", 200, door_reward),
    "relocate": Task("adroit_relocate:AdroitHandRelocateEnv", 200, relocate_reward),
}


class Adroit(gymnasium.Wrapper[Any, Any, Any, Any]):
    """A Gymnasium-Robotics hand that is paid, and ends, as D4RL's."""

    def __init__(self, task: Task, render_mode: str | None = None) -> None:
        super().__init__(
            robotics_class(f"adroit_hand.{task.hand}", "Adroit")(reward_type="dense", render_mode=render_mode)
        )
        self.task = task

    def step(self, action: NDArray[np.float32]) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        observation, _, _, _, info = self.env.step(action)
        hand = self.unwrapped
        return observation, self.task.reward(hand), self.task.fails(hand), False, info


def make_adroit(
    task: str, max_episode_steps: int | None = None, *, render_mode: str | None = None
) -> gymnasium.Env[Any, Any]:
    """The hand as D4RL's {task}-v1 evaluates it.

    task: pen, hammer, door or relocate. max_episode_steps: None = D4RL's. render_mode: None or "rgb_array". Needs
    gymnasium-robotics; raises DtagError saying how to install it.
    """
    if task not in TASKS:
        raise UsageError(f"unknown Adroit task '{task}'; choose one of: {', '.join(TASKS)}")
    own = TASKS[task]
    return TimeLimit(Adroit(own, render_mode), max_episode_steps or own.max_episode_steps)


def _distance(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    return float(np.linalg.norm(one - other))
