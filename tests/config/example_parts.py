"""Constructors for the config tests: what a user's own components look like."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from nowhere import Unresolvable


class Head(Protocol):
    """What a policy reads its actions with."""


class GaussianHead:
    """A Gaussian over actions.

    std: initial standard deviation.
    """

    def __init__(self, action_dim: int, std: float = 1):
        self.action_dim, self.std = action_dim, std


class Refiner:
    """Moves an action along the gradient of Q.

    eta: step size; tune it first.
    n_steps: how many steps, 0 for
    none. clip, rule: what bounds
    the step.

    Anything else is fixed.
    """

    def __init__(
        self,
        eta: float,
        n_steps: int = 10,
        *,
        clip: Literal["none", "norm"] | float = "none",
        rule: Literal["off", "chain", "anchor"] = "off",
    ):
        if eta < 0:
            raise ValueError(f"eta must not be negative, got {eta}")
        self.eta, self.n_steps, self.clip, self.rule = eta, n_steps, clip, rule


@dataclass(frozen=True)
class Policy:
    """A policy. state_dim, action_dim: sizes. head: reads the actions."""

    state_dim: int
    action_dim: int
    head: Head | None = None
    heads: dict[str, Head] = field(default_factory=dict)
    sizes: tuple[int, ...] = (64, 64)
    bounds: tuple[float, float] | None = None
    layers: list[tuple[int, int]] = field(default_factory=list)
    names: Sequence[str] = ()
    options: dict[str, Any] = field(default_factory=dict)
    folder: Path | None = None
    name: str = "mlp"
    dropout: float = None  # type: ignore[assignment]  # sloppy on purpose: users write this
    strange: Unresolvable | None = None
    callback: Any = print


class PolicyGradient:
    """A loss that needs nothing from the program."""

    def __init__(self, weight: float = 1.0):
        self.weight = weight


def make_open(weight: float = 1.0, **options: Any) -> dict[str, Any]:
    """A function that takes anything."""
    return {"weight": weight, **options}


def untyped(betas=(0.9, 0.999), anything=None):
    """A function without annotations."""
    return betas, anything
