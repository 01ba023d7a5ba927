"""Random batches and policy outputs for the loss terms' tests, in float64."""

from __future__ import annotations

import torch
from torch.distributions import Normal

from dtag.data.segments import SegmentBatch
from dtag.policy.output import PolicyOutput

SHAPES = [(1, 1, 1), (3, 4, 2), (6, 2, 5), (2, 9, 3)]  # (B, K, A)


def example(shape: tuple[int, int, int], seed: int = 0) -> tuple[SegmentBatch, PolicyOutput]:
    """A batch with padding and an output whose mean, std and predicted return are leaves that need a gradient."""
    n_rows, n_steps, action_dim = shape
    generator = torch.Generator().manual_seed(seed)

    def normal(*size: int) -> torch.Tensor:
        return torch.randn(size, generator=generator, dtype=torch.float64)

    lengths = torch.randint(1, n_steps + 1, (n_rows,), generator=generator)
    batch = SegmentBatch(
        states=normal(n_rows, n_steps, 3),
        actions=normal(n_rows, n_steps, action_dim),
        returns_to_go=normal(n_rows, n_steps, 1) + 0.5,
        timesteps=torch.arange(n_steps).expand(n_rows, n_steps),
        mask=torch.arange(n_steps) < lengths[:, None],
        rows=torch.arange(n_steps).expand(n_rows, n_steps),
    )
    mean, std = normal(n_rows, n_steps, action_dim).requires_grad_(), normal(n_rows, n_steps, action_dim).exp()
    output = PolicyOutput(
        action=mean,
        distribution=Normal(mean, std.requires_grad_(), validate_args=False),
        predicted_return=normal(n_rows, n_steps, 1).requires_grad_(),
    )
    return batch, output


def with_padding(batch: SegmentBatch, value: float) -> SegmentBatch:
    """The batch with `value` in every padded step."""
    dirty = {
        n: torch.where(batch.mask[..., None], getattr(batch, n), value) for n in ("states", "actions", "returns_to_go")
    }
    return batch._replace(**dirty)


class ExampleCritic(torch.nn.Module):
    """Twins and a value with a gradient everywhere, in float64: what a term that reads a critic is tested with."""

    def __init__(self, action_dim: int, state_dim: int = 3, offset: float = 0.0) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.layer = torch.nn.Linear(state_dim + action_dim, 2).double()
        self.state_layer = torch.nn.Linear(state_dim, 1).double()
        self.offset = offset

    def q(self, states: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.layer(torch.cat([states, actions], -1))).T + self.offset

    def q_reduced(self, states, actions, choice="min", kappa: float = 1.0) -> torch.Tensor:
        q = self.q(states, actions)
        return {"min": q.amin(0), "target_min": q.amin(0) - 0.1, "mean": q.mean(0), "q1": q[0]}[choice]

    def value(self, states: torch.Tensor) -> torch.Tensor:
        return self.state_layer(states)[:, 0]
