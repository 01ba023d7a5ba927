"""Ensembles of independent MLPs evaluated in one batched pass, and how their values are reduced to one."""

from __future__ import annotations

import copy
from itertools import pairwise
from typing import Any, Literal, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from dtag.config.ranges import refuse_sizes
from dtag.errors import UsageError
from dtag.products.linear import IMAGES, affine, by_onednn

Network = TypeVar("Network", bound=nn.Module)
QChoice = Literal["min", "q1", "mean", "target_min", "lower_bound", "advantage", "advantage_bound"]


class EnsembleLinear(nn.Module):
    """n linear maps side by side. weight: (n, in, out), bias: (n, 1, out); each member starts as nn.Linear does."""

    def __init__(self, n: int, input_dim: int, output_dim: int) -> None:
        super().__init__()
        members = [nn.Linear(input_dim, output_dim) for _ in range(n)]
        self.weight = nn.Parameter(torch.stack([member.weight.detach().T.contiguous() for member in members]))
        self.bias = nn.Parameter(torch.stack([member.bias.detach() for member in members]).unsqueeze(1))

    def forward(self, x: Tensor) -> Tensor:
        """(n, B, in) -> (n, B, out)"""
        return torch.baddbmm(self.bias, x, self.weight)


class EnsembleMLP(nn.Module):
    """n independent ReLU MLPs with one output each.

    layer_norm: a LayerNorm without parameters between each hidden linear and its ReLU, as TD3+ODT has outside MuJoCo;
    try it where values diverge.
    """

    def __init__(self, n: int, input_dim: int, hidden: tuple[int, ...], layer_norm: bool = False) -> None:
        super().__init__()
        refuse_sizes(hidden=hidden)
        self.n = n
        self.layer_norm = layer_norm
        dims = (input_dim, *hidden)
        self.hidden = nn.ModuleList([EnsembleLinear(n, *pair) for pair in pairwise(dims)])
        self.output = EnsembleLinear(n, dims[-1], 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in) -> (n, B); every member sees the same input.

        Never under autocast: in bfloat16 a Q near 100 has steps of 0.5, more than most advantages.
        """
        if torch.is_autocast_enabled(x.device.type):
            with torch.autocast(x.device.type, enabled=False):
                return self._values(x.to(self.output.weight.dtype))
        return self._values(x)

    def _values(self, x: Tensor) -> Tensor:
        n_rows = x.shape[0]
        missing = -n_rows % IMAGES
        if any(by_onednn(n_rows + missing, layer.weight) for layer in self._hidden):
            return self._member_by_member(functional.pad(x, (0, 0, 0, missing)))[:, :n_rows]
        h = x.expand(self.n, *x.shape)  # (n, B, in)
        for layer in self.hidden:
            h = layer(h)
            if self.layer_norm:
                h = functional.layer_norm(h, h.shape[-1:])
            h = functional.relu(h, inplace=True)  # in place: a third less memory traffic on CPU
        # not a matrix product: with one output column those are 6 times slower on CPU
        return torch.linalg.vecdot(h, self.output.weight.transpose(1, 2)) + self.output.bias.squeeze(-1)

    @property
    def _hidden(self) -> list[EnsembleLinear]:
        return cast(list[EnsembleLinear], list(self.hidden))

    def _member_by_member(self, x: Tensor) -> Tensor:
        """_values, for oneDNN, whose products are not batched."""
        layers = [list(zip(p.weight.unbind(), p.bias.flatten(1).unbind(), strict=True)) for p in self._hidden]
        outputs = []
        for member, weight in enumerate(self.output.weight.unbind()):
            h = x
            for layer in layers:
                h = affine(h, *layer[member])
                if self.layer_norm:
                    h = functional.layer_norm(h, h.shape[-1:])
                h = functional.relu(h)
            outputs.append(torch.linalg.vecdot(h, weight.T))
        return torch.stack(outputs) + self.output.bias.squeeze(-1)


class QEnsemble(EnsembleMLP):
    """n independent Q(state, action); n = 2 are the usual twins."""

    def __init__(
        self, n: int, state_dim: int, action_dim: int, hidden: tuple[int, ...] = (256, 256), layer_norm: bool = False
    ) -> None:
        super().__init__(n, state_dim + action_dim, hidden, layer_norm)

    def q(self, states: Tensor, actions: Tensor) -> Tensor:
        """(B, S), (B, A) -> (n, B)"""
        return self(torch.cat([states, actions], dim=-1))


def reduce_q(q: Tensor, choice: QChoice, kappa: float = 1.0) -> Tensor:
    """One value per row from an ensemble's. q: (n, B) -> (B,).

    "min" and "target_min" (of the target networks) are pessimistic, "q1" is the first member alone, "lower_bound" is
    mean - kappa * std over members (population std, so one member is its own bound). Raises UsageError for the choices
    that need advantage networks.
    """
    if choice in ("min", "target_min"):
        return q.amin(0) if q.shape[0] > 2 else torch.minimum(q[0], q[-1])
    if choice == "q1":
        return q[0]
    mean = q.mean(0)
    if choice == "mean":
        return mean
    if choice != "lower_bound":
        raise UsageError(
            f"ag.q={choice} needs advantage networks, which IQL has with critic.model.n_advantage=2; take min"
        )
    variance = (q - mean).square().mean(0)
    return mean - kappa * variance.clamp_min(1e-12).sqrt()  # the clamp: sqrt has no gradient at 0


class TargetNetwork:
    """For critics with a q_network, a target_network made by `target_of` and polyak, the step between them."""

    q_network: Any
    target_network: Any
    polyak: float

    @torch.no_grad()
    def update_target(self) -> None:
        """Q' <- Q' + polyak * (Q - Q'), in place; call once after every optimiser step."""
        lerp_buffers(self.target_network, self.q_network, self.polyak)

    @torch.no_grad()
    def copy_to_target(self) -> None:
        """Q' <- Q, as at the start of an online phase."""
        torch._foreach_copy_(list(self.target_network.buffers()), list(self.q_network.parameters()))


def target_of(network: Network) -> Network:
    """A copy of a network whose weights are buffers, for `lerp_buffers` to move."""
    target = copy.deepcopy(network)
    parameters_to_buffers(target)
    return target


def lerp_buffers(target: nn.Module, network: nn.Module, share: float) -> None:
    """A share of the way from a `target_of` a network to the network, in place; under no_grad."""
    torch._foreach_lerp_(list(target.buffers()), list(network.parameters()), share)


def td_loss(q: Tensor, y: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """sum_i mean[ (Q_i - y)^2 ] of q (n_q, N) and y (N,), and what is logged of it."""
    error = q - y
    loss = (error * error).mean(1).sum()
    return loss, {
        "loss_q": loss.detach(),
        "q_mean": q.detach().mean(),
        "target_mean": y.mean(),
        "td_error_abs": error.detach().abs().mean(),
    }


def parameters_to_buffers(module: nn.Module) -> None:
    """Turns every parameter into a buffer, in place: a target network that no optimiser can find."""
    for part in module.modules():
        for name, parameter in list(part.named_parameters(recurse=False)):
            delattr(part, name)
            part.register_buffer(name, parameter.detach().clone())
