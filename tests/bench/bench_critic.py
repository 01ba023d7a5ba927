"""IQL updates a second, sampling included, beside what the matrix products alone would allow.

    python tests/bench/bench_critic.py [--n-steps 300] [--device cpu]

On CPU in thread CPU time, one thread: a busy neighbour then costs little. The two are interleaved, medians are printed.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from dtag.critic.iql import IQL
from dtag.data.transitions import TransitionBatch
from dtag.products.linear import choose_library, training_products
from dtag.training.kept_memory import keep_freed_memory

STATE_DIM, ACTION_DIM, HIDDEN, BATCH, N_TRANSITIONS = 11, 3, 256, 256, 200_000


def iql_step(device: str) -> Callable[[], None]:
    """One draw, one update of Q and V, one of the target."""
    critic = IQL(STATE_DIM, ACTION_DIM, n_advantage=0, hidden=(HIDDEN, HIDDEN)).to(device)
    optimizer = critic.optimizer()
    widths = (STATE_DIM, ACTION_DIM, None, STATE_DIM, None)
    columns = [torch.randn(N_TRANSITIONS, *([] if w is None else [w]), device=device) for w in widths]
    columns[4] = (columns[4] > 2).float()

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
    parser.add_argument("--n-steps", type=int, default=300)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    keep_freed_memory()  # as `dtag fit` does
    choose_library("auto")  # likewise
    torch.set_num_threads(1)
    on_gpu = options.device != "cpu"
    steps = {"iql": iql_step(options.device), "products": matrix_products(options.device)}
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    clock = time.perf_counter if on_gpu else time.thread_time
    for i in range(options.n_steps + 20):
        for name, step in steps.items():
            start = clock()
            with training_products():
                step()
            if on_gpu:
                torch.cuda.synchronize()
            if i >= 20:
                seconds[name].append(clock() - start)
    iql, products = (statistics.median(values) for values in seconds.values())
    print(f"IQL update: {1e3 * iql:.2f} ms, {1 / iql:.0f} steps/s; its matrix products: {1e3 * products:.2f} ms")
    print(f"share of the products' bound reached: {products / iql:.0%}")


if __name__ == "__main__":
    main()
