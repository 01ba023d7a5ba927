"""What the benches share: Hopper-sized models and data, timed turns, the reference's published rates.

Letters: L tokens, D hidden, K context steps.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from dtag.data.dataset import Dataset, DatasetInfo
from dtag.data.trajectories import Trajectories
from dtag.losses.action_mse import ActionMSE
from dtag.losses.action_nll import ActionNLL
from dtag.losses.return_expectile import ReturnExpectile
from dtag.policy.decision_transformer import DecisionTransformer
from dtag.policy.return_model import ReturnTransformer
from dtag.products.linear import Library, choose_library, linear, training_products
from dtag.training.optimizers import OptimizerSettings

STATE_DIM, ACTION_DIM, EPISODE = 11, 3, 1000
BOUNDS = ((-1.0,) * ACTION_DIM, (1.0,) * ACTION_DIM)

# The official codes on one free core of another day's machine of this kind, whose sgemm ran at so many GFLOP/s.
REFERENCE_GFLOPS = 51.0
REFERENCE_TRAINING = {"RF": 1.49, "DT": 2.64}  # steps/s: batch 128, K 5; batch 64, K 20
REFERENCE_EVALUATION = {"RF": 95.0, "DT": 365.0}  # environment steps/s, one episode at a time


@dataclass(frozen=True)
class Model:
    """A published model at its published size, and what its code is called in the reference's tables."""

    reference: str
    policy: Mapping[str, Any]
    two_networks: bool
    context_length: int
    batch_size: int
    optimizer: OptimizerSettings
    sampling: Mapping[str, Any]
    target_return: float | None = None
    sizes: Mapping[str, int] = field(default_factory=dict)

    def networks(self) -> tuple[DecisionTransformer, ReturnTransformer | None]:
        """The policy and its return model, freshly initialised."""
        policy = DecisionTransformer(STATE_DIM, *BOUNDS, EPISODE - 1, **self.sizes, **self.policy)
        if not self.two_networks:
            return policy, None
        return policy, ReturnTransformer(STATE_DIM, ACTION_DIM, EPISODE - 1, **self.sizes)

    def losses(self) -> dict[str, Any]:
        if self.reference == "DT":
            return {"action": ActionMSE(denominator="all")}
        return {"action": ActionNLL(ACTION_DIM), "return": ReturnExpectile()}


_RF_SIZES = {"hidden": 256, "n_layers": 4, "n_heads": 8}
_RF_SAMPLING = {"weighting": "uniform", "start": "inside"}
MODELS: dict[str, Model] = {
    "RF": Model("RF", {"predicts_return": True}, False, 5, 128, OptimizerSettings(), _RF_SAMPLING, sizes=_RF_SIZES),
    "RF, 2 nets": Model("RF", {}, True, 5, 128, OptimizerSettings(), _RF_SAMPLING, sizes=_RF_SIZES),
    "DT": Model(
        "DT",
        {
            "token_order": "rsa",
            "norm": "pre",
            "head": "deterministic",
            "embedding_dropout": 0.1,
            "attention_dropout_on": "weights",
            "init": "normal",
        },
        False,
        20,
        64,
        OptimizerSettings("adamw", warmup_steps=10_000),
        {"weighting": "length", "start": "anywhere"},
        target_return=3600.0,
        sizes={"hidden": 128, "n_layers": 3, "n_heads": 1},
    ),
}


def hopper_like(n_steps: int, episode_length: int = EPISODE, seed: int = 0) -> Dataset:
    """Random numbers of Hopper's shapes, all episodes as long; the last is cut short where the steps do not divide."""
    draw = np.random.default_rng(seed)
    truncated = np.zeros(n_steps, bool)
    truncated[episode_length - 1 :: episode_length] = True
    trajectories = Trajectories.from_arrays(
        draw.standard_normal((n_steps, STATE_DIM), np.float32),
        draw.uniform(-1, 1, (n_steps, ACTION_DIM)).astype(np.float32),
        draw.uniform(0, 4, n_steps).astype(np.float32),
        np.zeros(n_steps, bool),
        truncated,
    )
    return Dataset(trajectories, DatasetInfo("local/bench/hopper-v0", "Hopper-v5"))


@dataclass(frozen=True)
class Spent:
    """Seconds of one run of something."""

    wall: float
    cpu: float


def spend(run: Callable[[], object]) -> Spent:
    """One run's wall time and the process's CPU time, all threads together."""
    wall, cpu = time.perf_counter(), time.process_time()
    run()
    return Spent(time.perf_counter() - wall, time.process_time() - cpu)


def interleaved(
    runs: Mapping[str, Callable[[], object]], seconds: float, *, warm_up: int = 2, at_least: int = 3
) -> dict[str, list[Spent]]:
    """All runs in turns, for about so many seconds: a busy neighbour then hurts them alike."""
    for run in runs.values():
        for _ in range(warm_up):
            run()
    spent: dict[str, list[Spent]] = {name: [] for name in runs}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(next(iter(spent.values()))) < at_least:
        for name, run in runs.items():
            spent[name].append(spend(run))
    return spent


def median_wall(spent: list[Spent]) -> float:
    return statistics.median(one.wall for one in spent)


def median_cpu(spent: list[Spent]) -> float:
    return statistics.median(one.cpu for one in spent)


def sgemm(rows: int, inner: int, columns: int) -> tuple[Callable[[], object], float]:
    """A matrix product into memory that is there already, and its GFLOP."""
    left, right, out = torch.randn(rows, inner), torch.randn(inner, columns), torch.empty(rows, columns)
    return lambda: torch.mm(left, right, out=out), 2e-9 * rows * inner * columns


def onednn_product(rows: int, inner: int, columns: int) -> Callable[[], object]:
    """The same product as `sgemm`'s by oneDNN, as training asks for it."""
    x, weight = torch.randn(rows, inner), torch.randn(columns, inner)

    def product() -> None:
        with torch.no_grad(), training_products():
            linear(x, weight, None)

    return by_library("onednn", product)


def by_library(library: Library, step: Callable[[], None]) -> Callable[[], None]:
    """A training step with its products by that library."""

    def chosen() -> None:
        choose_library(library)
        step()

    return chosen


def products_gflop(network: nn.Module, batch: int, context_length: int, *, per_step: int, last_slot: int) -> float:
    """GFLOP of the matrix products of one forward and backward pass that no implementation can leave out.

    Forward once, and twice that back (weights, inputs; the embeddings' inputs need none). The last block's queries,
    output and MLP at the per_step tokens that heads read only; nothing behind the last of them (slot last_slot of 3);
    attention below the diagonal only.
    """
    model: Any = network.model  # type: ignore[union-attr]
    hidden = model.norm.normalized_shape[0]
    n_layers, tokens = len(model.transformer.blocks), 3 * context_length - 2 + last_slot
    read = per_step * context_length
    embedding = 2 * context_length * hidden * (STATE_DIM + ACTION_DIM + 1)
    full = 24 * tokens * hidden**2 + 2 * tokens * (tokens + 1) * hidden
    last = (4 * tokens + 20 * read) * hidden**2 + 2 * read * tokens * hidden
    return 1e-9 * batch * (2 * embedding + 3 * ((n_layers - 1) * full + last))
