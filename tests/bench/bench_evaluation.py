"""Environment steps a second of an evaluation, and what Action Gradient adds to one.

    python tests/bench/bench_evaluation.py [--seconds 60] [--block-size N]

Hopper-v5 that nothing ends early, windows full, context rule off, one thread; act, step, observe: all of a rollout but
its bookkeeping. Everything in turns, medians, in CPU time: the neighbours' share of the core is not dtag's.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from workloads import (
    ACTION_DIM,
    MODELS,
    REFERENCE_EVALUATION,
    REFERENCE_GFLOPS,
    STATE_DIM,
    Model,
    hopper_like,
    interleaved,
    median_cpu,
    sgemm,
)

from dtag.critic.iql import IQL
from dtag.data.spec import DataSpec, make_spec
from dtag.evaluation.settings import EvaluationSettings
from dtag.refiners.action_gradient import ActionGradient
from dtag.rollout.agent import Agent, ContextSettings
from dtag.rollout.environments import EnvironmentFactory, InProcess

ROWS, AG_STEPS, ENDLESS = (1, 10, 40), 5, 10**9
# Official code's CPU time per environment step over dtag's with 10 rows in blocks of 12, both in turns in one process:
# 2026-11, 1 thread, torch 2.13. DT: Xeon of AVX-512, where it was 2.3 before the last block's keys and values, the
# second MLP tensor and the copied weights went. RF: EPYC, before that; DT there was 1.6.
PAIRED = {"RF": 4.3, "RF, 2 nets": 2.7, "DT": 2.6}


class Rollout:
    """Rows of one agent in episodes without end; a call is one step of all of them."""

    def __init__(self, agent: Agent, environments: InProcess) -> None:
        self.agent, self.environments, self.slots = agent, environments, range(environments.n_slots)
        agent.reset(len(self.slots))
        self.states = environments.reset(self.slots, self.slots)

    def __call__(self) -> None:
        decision = self.agent.act_rows(self.slots, self.states)
        stepped = self.environments.step(self.slots, decision.actions)
        self.agent.observe(self.slots, stepped.rewards)
        self.states = stepped.states


def make_agent(model: Model, spec: DataSpec, block_size: int, refined: bool = False) -> Agent:
    policy, return_model = model.networks()
    for network in (policy, return_model):
        if network is not None:
            network.eval()
    return Agent(
        policy,
        spec,
        return_model=return_model,
        critic=IQL(STATE_DIM, ACTION_DIM, hidden=(256, 256)) if refined else None,
        refiner=ActionGradient(n_steps=AG_STEPS, q="min") if refined else None,
        context=ContextSettings("off", model.context_length),
        target_return=model.target_return,
        block_size=block_size,
    )


def bare_steps(environments: InProcess) -> Callable[[], object]:
    actions = np.zeros((environments.n_slots, ACTION_DIM), np.float32)
    slots = range(environments.n_slots)
    environments.reset(slots, slots)
    return lambda: environments.step(slots, actions)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="of measuring, about (default 60)")
    parser.add_argument(
        "--block-size", type=int, default=EvaluationSettings().block_size, help="default eval.block_size"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    spec = make_spec(hopper_like(5_000), return_scale=1000.0, reward_rule="raw")
    factory = EnvironmentFactory("Hopper-v5", {"terminate_when_unhealthy": False}, max_episode_steps=ENDLESS)
    runs: dict[str, Callable[[], object]] = {}
    for rows in ROWS:
        for name, model in MODELS.items():
            runs[f"{name} {rows}"] = Rollout(make_agent(model, spec, options.block_size), InProcess(factory, rows))
        refined = make_agent(MODELS["RF"], spec, options.block_size, refined=True)
        runs[f"AG {rows}"] = Rollout(refined, InProcess(factory, rows))
    runs["bare"] = bare_steps(InProcess(factory, 10))
    runs["sgemm"], gflop = sgemm(1920, 256, 1024)
    longest = max(model.context_length for model in MODELS.values())
    spent = {name: median_cpu(values) for name, values in interleaved(runs, options.seconds, warm_up=longest).items()}

    console = Console()
    console.print(_rates(spent, options.block_size))
    console.print(_action_gradient(spent))
    rate = gflop / spent["sgemm"]
    console.print(f"bare Hopper-v5: {10 / spent['bare']:,.0f} steps/s; sgemm 1920x256x1024: {rate:.0f} GFLOP/s")
    console.print(_reference(rate))


def _rates(spent: dict[str, float], block_size: int) -> Table:
    table = Table("rows", title=f"Environment steps per CPU-second, blocks of {block_size} rows")
    for name in MODELS:
        table.add_column(name, justify="right")
    for rows in ROWS:
        table.add_row(str(rows), *(f"{rows / spent[f'{name} {rows}']:.0f}" for name in MODELS))
    return table


def _action_gradient(spent: dict[str, float]) -> Table:
    table = Table("rows", title=f"Action Gradient, {AG_STEPS} steps on twin 256-256: its share of a refined step")
    table.add_column("ms", justify="right")
    for name in MODELS:
        table.add_column(name, justify="right")
    for rows in ROWS:
        added = max(spent[f"AG {rows}"] - spent[f"RF {rows}"], 0.0)
        shares = (f"{added / (added + spent[f'{name} {rows}']):.0%}" for name in MODELS)
        table.add_row(str(rows), f"{1e3 * added:.1f}", *shares)
    return table


def _reference(rate: float) -> Table:
    table = Table("official code", title="For orientation: measured elsewhere, one free core, one episode at a time")
    for column in ("steps/s", "at GFLOP/s", "scaled to this sgemm"):
        table.add_column(column, justify="right")
    for name, published in REFERENCE_EVALUATION.items():
        table.add_row(name, f"{published:.0f}", f"{REFERENCE_GFLOPS:.0f}", f"{published * rate / REFERENCE_GFLOPS:.0f}")
    paired = ", ".join(f"{name} {ratio:.1f}x" for name, ratio in PAIRED.items())
    table.caption = f"dtag, 10 rows in blocks of 12, paired with the official code in one process: {paired}"
    return table


if __name__ == "__main__":
    main()
