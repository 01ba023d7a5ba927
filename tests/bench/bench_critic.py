"""IQL updates a second, sampling included, beside what the matrix products alone would allow.

    python tests/bench/bench_critic.py [--n-steps 300] [--device cpu]

On CPU in thread CPU time, one thread: a busy neighbour then costs little. Bursts of steps, as training makes them, in turns
(two libraries step by step in turns would empty each other's caches); medians are printed.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from workloads import by_library

from dtag.critic.iql import IQL
from dtag.data.transitions import TransitionBatch
from dtag.products.linear import training_products
from dtag.training.kept_memory import keep_freed_memory

STATE_DIM, ACTION_DIM, HIDDEN, BATCH, N_TRANSITIONS = 11, 3, 256, 256, 200_000
BURST = 15


def iql_step(device: str) -> Callable[[], None]:
    """One draw, one update of Q and V, one of the target."""
    critic = IQL(STATE_DIM, ACTION_DIM, n_advantage=0, hidden=(HIDDEN, HIDDEN)).to(device)
    optimizer = critic.optimizer()
    widths = (STATE_DIM, ACTION_DIM, None, STATE_DIM, None)
    columns = [torch.randn(N_TRANSITIONS, *([] if w is None else [w]), device=device) for w in widths]
    columns[4] = (columns[4] > 2).float()

    @training_products()
    def step() -> None:
        rows = torch.randint(N_TRANSITIONS, (BATCH,), device=device)
        loss, _ = critic.loss(TransitionBatch(*(column.index_select(0, rows) for column in columns)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        critic.update_target()

    return step


def matrix_products(device: str) -> Callable[[], None]:
    """The products an update cannot do without: Q twice and V forward and back, target Q twice and V(s') forward."""
    square, out = torch.randn(BATCH, HIDDEN, device=device), torch.empty(BATCH, HIDDEN, device=device)
    weight = torch.randn(HIDDEN, HIDDEN, device=device)
    pair = torch.randn(BATCH, STATE_DIM + ACTION_DIM, device=device)
    pair_weight = torch.randn(STATE_DIM + ACTION_DIM, HIDDEN, device=device)
    state, state_weight = torch.randn(BATCH, STATE_DIM, device=device), torch.randn(STATE_DIM, HIDDEN, device=device)

    def step() -> None:
        for _ in range(6 + 3 + 3):  # forward, weight gradients, input gradients
            torch.mm(square, weight, out=out)
        for _ in range(4):
            torch.mm(pair, pair_weight, out=out)
        for _ in range(2):
            torch.mm(state, state_weight, out=out)
            torch.mm(pair.T, square)
        torch.mm(state.T, square)

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n-steps", type=int, default=600)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    keep_freed_memory()  # as `dtag fit` does
    torch.set_num_threads(1)
    on_gpu = options.device != "cpu"
    step = iql_step(options.device)
    steps = {"iql": by_library("auto", step), "torch": by_library("torch", step)}
    steps["products"] = matrix_products(options.device)
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    clock = time.perf_counter if on_gpu else time.thread_time
    for _ in range(max(options.n_steps // BURST, 1)):
        for name, run in steps.items():
            run()  # one step for the caches
            start = clock()
            for _ in range(BURST):
                run()
            if on_gpu:
                torch.cuda.synchronize()
            seconds[name].append((clock() - start) / BURST)
    iql, by_torch, products = (statistics.median(values) for values in seconds.values())
    print(f"IQL update: {1e3 * iql:.2f} ms, {1 / iql:.0f} steps/s; its matrix products: {1e3 * products:.2f} ms")
    print(f"share of the bound of torch's products: {products / iql:.0%}")
    print(f"with train.products=torch: {by_torch / iql:.2f} times the time")


if __name__ == "__main__":
    main()
