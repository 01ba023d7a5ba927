"""Fine-tuning's two halves: environment steps a second of collection, and TD3+ODT updates a second.

    python tests/bench/bench_online.py [--seconds 60] [--small]

Paper 2's DT, 4 layers, 512 wide, K = 20, T_eval = 5, of which the acting window is 5 steps; and a laptop's, 2 layers,
64 wide, K = 5. Collection is the collector's own: rollout with exploration noise, recording, Hopper-v5 that nothing ends
early. An update is the module's own training step, drawn from a replay buffer: as paper 2 counts, one batch of 256 with
one critic update, and a policy update every second time. One thread, CPU time, in turns, medians.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from workloads import BOUNDS, EPISODE, STATE_DIM, by_library, hopper_like, interleaved, median_cpu, sgemm

from dtag.critic.bellman import BellmanCritic
from dtag.critic.target_rules import TargetPolicy
from dtag.data.replay_buffer import ReplayBuffer
from dtag.data.spec import DataSpec, make_spec
from dtag.evaluation.settings import EvaluationSettings
from dtag.losses.action_mse import ActionMSE
from dtag.losses.policy_gradient import PolicyGradient
from dtag.policy.decision_transformer import DecisionTransformer
from dtag.rollout.agent import Agent, ContextSettings
from dtag.rollout.environments import EnvironmentFactory
from dtag.training.collector import Collector
from dtag.training.kept_memory import keep_freed_memory
from dtag.training.optimizers import OptimizerSettings
from dtag.training.policy_module import PolicyModule
from dtag.training.settings import OnlineSettings

SIZES: dict[str, Mapping[str, int]] = {
    "4 x 512, K = 20": {"hidden": 512, "n_layers": 4, "n_heads": 4, "K": 20, "batch": 256},
    "2 x 64, K = 5": {"hidden": 64, "n_layers": 2, "n_heads": 4, "K": 5, "batch": 64},
}
ENVIRONMENTS = (1, 8)
WINDOW, STEPS, DELAY, BUFFER_STEPS = 5, 40, 2, 50_000
# The released codes on one free core (sgemm 51 GFLOP/s): environment steps/s of 10 environments, 5-step windows padded to
# 20; training steps/s of ODT and of TD3+ODT at 4 x 512, batch 256. Dtag's aims against them.
REFERENCE_COLLECTION, REFERENCE_UPDATES, REFERENCE_GFLOPS = 40.0, {"ODT": 0.05, "TD3+ODT": 0.065}, 51.0


def make_policy(size: Mapping[str, int]) -> DecisionTransformer:
    return DecisionTransformer(
        STATE_DIM,
        *BOUNDS,
        EPISODE - 1,
        hidden=size["hidden"],
        n_layers=size["n_layers"],
        n_heads=size["n_heads"],
        token_order="rsa",
        norm="pre",
        head="deterministic",
        time_embedding="none",
        attention_dropout_on="weights",
    )


def collection(size: Mapping[str, int], spec: DataSpec, environments: int) -> Callable[[], object]:
    """A round of STEPS steps in each environment, as the collector does one."""
    policy = make_policy(size).eval()
    agent = Agent(
        policy,
        spec,
        context=ContextSettings("off", WINDOW),
        target_return=3600.0,
        block_size=EvaluationSettings().block_size,
    )
    factory = EnvironmentFactory("Hopper-v5", {"terminate_when_unhealthy": False}, max_episode_steps=STEPS)
    settings = OnlineSettings(environments=environments, target_return=7200.0, updates_per_round=1)
    buffer = ReplayBuffer(4, spec, room=4 * (STEPS + 1), context_length=size["K"])
    collector = Collector(buffer, factory, lambda _: agent, settings, seed=0)
    return lambda: collector.collect(agent)


def update(size: Mapping[str, int], spec: DataSpec) -> Callable[[], None]:
    """One training step of the module: DELAY critic updates and one of the policy, on DELAY batches drawn before."""
    critic: Any = BellmanCritic(STATE_DIM, *BOUNDS, rule=TargetPolicy(), learning_rate=1e-3)
    module = PolicyModule(
        policy=make_policy(size),
        return_model=None,
        losses={"action": ActionMSE(), "td3": PolicyGradient(weight=0.1, q="q1", normalize=False)},
        optimizer=OptimizerSettings(),
        spec=spec,
        seed=0,
        critic=critic,
        policy_delay=DELAY,
        log_every=10**9,  # logging needs a Trainer
    ).train()
    optimizers = module.configure_optimizers()
    own: Any = optimizers[0] if isinstance(optimizers, tuple) else optimizers
    schedulers = optimizers[1] if isinstance(optimizers, tuple) else []
    alone: Any = module  # without a Trainer
    alone.optimizers, alone.lr_schedulers = lambda: own, lambda: schedulers
    alone.manual_backward = torch.Tensor.backward
    data = hopper_like(BUFFER_STEPS).trajectories
    buffer = ReplayBuffer(data.n_episodes, spec, room=data.n_steps + data.n_episodes, context_length=size["K"])
    buffer.fill_from(data)
    generator = torch.Generator().manual_seed(0)
    return lambda: module.training_step(buffer.sample(DELAY * size["batch"], generator), 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=120.0, help="of measuring, about (default 120)")
    parser.add_argument("--small", action="store_true", help="leave the large model's updates out: half a minute each")
    options = parser.parse_args()
    keep_freed_memory()  # as `dtag finetune` does
    torch.set_num_threads(1)
    torch.manual_seed(0)
    spec = make_spec(hopper_like(5_000), return_scale=1000.0, reward_rule="raw")
    runs: dict[str, Callable[[], object]] = {}
    for name, size in SIZES.items():
        for n in ENVIRONMENTS:
            runs[f"{name} collect {n}"] = collection(size, spec, n)
        if not options.small or size["hidden"] < 512:
            step = update(size, spec)
            runs[f"{name} update"], runs[f"{name} torch"] = by_library("auto", step), by_library("torch", step)
    runs["sgemm"], gflop = sgemm(1920, 256, 1024)
    spent = {name: median_cpu(values) for name, values in interleaved(runs, options.seconds, warm_up=1).items()}
    rate = gflop / spent["sgemm"]
    console = Console()
    table = Table("", title="Fine-tuning, per CPU-second")
    for column in (
        *(f"steps, {n} environment{'s' * (n > 1)}" for n in ENVIRONMENTS),
        "TD3+ODT updates",
        "torch's time",
    ):
        table.add_column(column, justify="right")
    for name in SIZES:
        collected = [f"{n * STEPS / spent[f'{name} collect {n}']:,.0f}" for n in ENVIRONMENTS]
        seconds = spent.get(f"{name} update")
        by_torch = spent.get(f"{name} torch")
        updates = ("-", "-") if not (seconds and by_torch) else (f"{DELAY / seconds:.3g}", f"{by_torch / seconds:.2f}x")
        table.add_row(name, *collected, *updates)
    published = ", ".join(f"{name} {value:g}" for name, value in REFERENCE_UPDATES.items())
    table.caption = (
        f"released codes on one core of {REFERENCE_GFLOPS:.0f} GFLOP/s, 4 x 512: {REFERENCE_COLLECTION:.0f} environment "
        f"steps/s with 10 environments, updates/s {published}; here sgemm 1920x256x1024 runs at {rate:.0f} GFLOP/s"
    )
    console.print(table)


if __name__ == "__main__":
    main()
