"""Random numbers that depend on the step alone, so that a resumed run draws what an uninterrupted one would have."""

from __future__ import annotations

import hashlib

import torch


def step_seed(seed: int, stream: str, rank: int, step: int) -> int:
    """A 63-bit seed for one step of one rank; streams ("segments", "torch", ...) are independent."""
    digest = hashlib.blake2b(f"{seed}/{stream}/{rank}/{step}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def step_generator(seed: int, stream: str, rank: int, step: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator seeded by `step_seed`."""
    return torch.Generator(device).manual_seed(step_seed(seed, stream, rank, step))


def seed_step(seed: int, stream: str, rank: int, step: int, device: torch.device | str = "cpu") -> None:
    """Seeds torch's own generators, of the CPU and of `device`, for one step: dropout becomes a function of the step.

    Not torch.manual_seed: that remembers a stack trace for every kind of accelerator that is not in use, a millisecond
    and some kilobytes at each step.
    """
    value = step_seed(seed, stream, rank, step)
    torch.default_generator.manual_seed(value)
    if torch.device(device).type == "cuda":
        torch.cuda.manual_seed(value)
