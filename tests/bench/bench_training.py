"""Training steps a second of the three models: segments drawn, forward, losses, backward, clip, optimiser.

    python tests/bench/bench_training.py [--seconds 60]

The module's own training_step, without Lightning's loop around it; all models in turns, medians. First with 1 thread,
then with 2: those wait for each other, and where another program has one of the cores they are many times slower.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
from rich.console import Console
from rich.table import Table
from workloads import (
    MODELS,
    REFERENCE_GFLOPS,
    REFERENCE_TRAINING,
    Model,
    by_library,
    hopper_like,
    interleaved,
    median_cpu,
    median_wall,
    onednn_product,
    products_gflop,
    sgemm,
)

from dtag.data.segments import SegmentSampler
from dtag.data.spec import make_spec
from dtag.training.kept_memory import keep_freed_memory
from dtag.training.policy_module import PolicyModule

THREADS = (1, 2)
# Official code's CPU time per step over dtag's with torch's own products, both in turns in one process: 2026-11, 1 thread,
# torch 2.13, EPYC. oneDNN's gain comes on top: the column "torch's time" below.
PAIRED = {"RF": 1.17, "DT": 1.29}


def training_step(model: Model, n_steps: int = 200_000) -> tuple[Callable[[], None], float]:
    """One full step, and the GFLOP of its products."""
    dataset = hopper_like(n_steps)
    spec = make_spec(dataset, return_scale=1000.0, reward_rule="raw")
    policy, return_model = model.networks()
    module = PolicyModule(
        policy=policy,
        return_model=return_model,
        losses=model.losses(),
        optimizer=model.optimizer,
        spec=spec,
        seed=0,
        log_every=10**9,  # logging needs a Trainer
    ).train()
    optimizers, schedulers = module.configure_optimizers()
    module.optimizers = lambda: optimizers  # type: ignore[method-assign]
    module.lr_schedulers = lambda: schedulers  # type: ignore[method-assign]
    module.manual_backward = torch.Tensor.backward  # type: ignore[method-assign]
    sampler = SegmentSampler(dataset.trajectories, spec, context_length=model.context_length, **model.sampling)
    generator = torch.Generator().manual_seed(0)
    sizes = (model.batch_size, model.context_length)
    products = products_gflop(policy, *sizes, per_step=2 if policy.predicts_return else 1, last_slot=1)
    if return_model is not None:
        products += products_gflop(return_model, *sizes, per_step=1, last_slot=0)
    return lambda: module.training_step(sampler.sample(model.batch_size, generator), 0), products


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=50.0, help="of measuring, about (default 50)")
    seconds = parser.parse_args().seconds
    keep_freed_memory()  # as `dtag fit` does
    runs: dict[str, Callable[[], object]] = {}
    gflop: dict[str, float] = {}
    for name, model in MODELS.items():
        step, gflop[name] = training_step(model)
        runs[name], runs[f"{name} torch"] = by_library("auto", step), by_library("torch", step)
        # The widest product of a step; a rate measured on smaller ones would flatter the share.
        hidden = model.sizes["hidden"]
        tokens = model.batch_size * 3 * model.context_length
        runs[f"{name} onednn"] = onednn_product(tokens, hidden, 4 * hidden)
        runs[f"{name} sgemm"], gflop[f"{name} sgemm"] = sgemm(tokens, hidden, 4 * hidden)
    spent = {}
    for n in THREADS:
        torch.set_num_threads(n)
        spent[n] = interleaved(runs, seconds / len(THREADS), warm_up=2 if n == 1 else 0, at_least=2)

    table = Table("model", "threads", title="Training, Hopper-sized")
    for column in ("steps/s", "steps per CPU-s", "torch's time", "MKL, oneDNN GFLOP/s", "share of the faster"):
        table.add_column(column, justify="right")
    for name in MODELS:
        for n in THREADS:
            own, products = spent[n][name], (spent[n][f"{name} sgemm"], spent[n][f"{name} onednn"])
            rates = [gflop[f"{name} sgemm"] / median_wall(product) for product in products]
            share = gflop[name] / max(rates) / median_wall(own)
            slower = median_wall(spent[n][f"{name} torch"]) / median_wall(own)
            steps = (f"{1 / median_wall(own):.2f}", f"{1 / median_cpu(own):.2f}", f"{slower:.2f}x")
            table.add_row(name, str(n), *steps, ", ".join(f"{rate:.0f}" for rate in rates), f"{share:.0%}")
    table.caption = "torch's time: with train.products=torch, over that with auto."
    console = Console()
    console.print(table)
    sgemms = {name: gflop[f"{name} sgemm"] / median_wall(spent[1][f"{name} sgemm"]) for name in PAIRED}
    console.print(_reference_table(sgemms))


def _reference_table(rates: dict[str, float]) -> Table:
    table = Table("official code", title="For orientation: measured elsewhere, one free core")
    for column in ("steps/s", "at GFLOP/s", "scaled to this sgemm", "its time / dtag's, paired"):
        table.add_column(column, justify="right")
    for name, paired in PAIRED.items():
        published = REFERENCE_TRAINING[MODELS[name].reference]
        scaled = published * rates[name] / REFERENCE_GFLOPS
        table.add_row(
            MODELS[name].reference, f"{published:.2f}", f"{REFERENCE_GFLOPS:.0f}", f"{scaled:.2f}", f"{paired:.2f}"
        )
    table.caption = (
        "Scaling overstates it: dropout, softmax and GELU do not speed up with sgemm. Trust the paired ratio."
    )
    return table


if __name__ == "__main__":
    main()
