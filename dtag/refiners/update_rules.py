"""The four ways Action Gradient turns gradients into a step (Table 4 of the paper): eq. 1, 6, 7 and 8.

A rule's `step(gradient, state, i)` returns the ascent direction, to be multiplied by eta, and the state for step i + 1;
state () stands for all moments 0. Everything is elementwise, so no row and no action dim sees another.

g^i = dQ/da at a^i. The paper prints no zeta or epsilon; the defaults here are the optimisers' customary ones.
Variant "paper" is the equation as printed, "standard" the optimiser it is named after.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

Variant = Literal["paper", "standard"]
State = tuple[Tensor, ...]


class UpdateRule(Protocol):
    def step(self, gradient: Tensor, state: State, i: int) -> tuple[Tensor, State]:
        """gradient: (B, A) of Q in the action. i counts from 0."""
        ...


@dataclass(frozen=True)
class Plain:
    """Gradient ascent.

    delta^i = g^i      (eq. 1)
    """

    def step(self, gradient: Tensor, state: State, i: int) -> tuple[Tensor, State]:
        return gradient, state


@dataclass(frozen=True)
class FirstMoment:
    """Momentum.

    paper:    v^i = v^{i-1} + zeta g^i       (eq. 6: no decay, a constant gradient moves quadratically far)
    standard: v^i = zeta v^{i-1} + g^i       (heavy ball)
    delta^i = v^i
    """

    zeta: float = 0.9
    variant: Variant = "paper"

    def step(self, gradient: Tensor, state: State, i: int) -> tuple[Tensor, State]:
        (velocity,) = state or (torch.zeros_like(gradient),)
        paper = self.variant == "paper"
        velocity = velocity + self.zeta * gradient if paper else self.zeta * velocity + gradient
        return velocity, (velocity,)


@dataclass(frozen=True)
class SecondMoment:
    """RMSProp. eta is in action units: the step does not know the gradient's scale.

    r^i = zeta r^{i-1} + (1 - zeta) (g^i)^2,  delta^i = g^i / (sqrt(r) + epsilon)
    paper:    r = r^i                        (eq. 7: the first step is eta / sqrt(1 - zeta), 3.2 eta at 0.9)
    standard: r = r^i / (1 - zeta^{i+1})     (bias corrected: the first step is eta)
    """

    zeta: float = 0.9
    epsilon: float = 1e-8
    variant: Variant = "paper"

    def step(self, gradient: Tensor, state: State, i: int) -> tuple[Tensor, State]:
        (square,) = state or (torch.zeros_like(gradient),)
        square = self.zeta * square + (1 - self.zeta) * gradient * gradient
        correction = 1.0 if self.variant == "paper" else 1 - self.zeta ** (i + 1)
        return gradient / ((square / correction).sqrt() + self.epsilon), (square,)


@dataclass(frozen=True)
class BothMoments:
    """Adam. eta is in action units.

    m^i = zeta_first m^{i-1} + (1 - zeta_first) g^i,  v^i = zeta_second v^{i-1} + (1 - zeta_second) (g^i)^2
    delta^i = (m^i / c1) / (sqrt(v^i / c2) + epsilon)
    paper:    c = 1 - zeta                   (eq. 8: the constant; at a constant gradient steps grow 1, 1.34, 1.57, ...)
    standard: c = 1 - zeta^{i+1}             (Adam: at a constant gradient every step is eta)
    """

    zeta_first: float = 0.9
    zeta_second: float = 0.999
    epsilon: float = 1e-8
    variant: Variant = "paper"

    def step(self, gradient: Tensor, state: State, i: int) -> tuple[Tensor, State]:
        first, second = state or (torch.zeros_like(gradient), torch.zeros_like(gradient))
        first = self.zeta_first * first + (1 - self.zeta_first) * gradient
        second = self.zeta_second * second + (1 - self.zeta_second) * gradient * gradient
        power = 1 if self.variant == "paper" else i + 1
        first_corrected = first / (1 - self.zeta_first**power)
        second_corrected = second / (1 - self.zeta_second**power)
        return first_corrected / (second_corrected.sqrt() + self.epsilon), (first, second)
