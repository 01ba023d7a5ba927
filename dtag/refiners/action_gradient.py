"""Action Gradient: climb Q from the policy's action, then keep the best action seen (eq. 1, 2 and Algorithm 1)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from dtag.config.ranges import refuse
from dtag.critic.critic import Critic
from dtag.critic.networks import QChoice
from dtag.errors import UsageError
from dtag.refiners.update_rules import BothMoments, FirstMoment, Plain, SecondMoment, State, UpdateRule, Variant

QFunction = Callable[[Tensor, Tensor], Tensor]  # states (B, S), actions (B, A) -> (B,), row by row
RuleName = Literal["none", "fm", "sm", "fm_sm"]
RULES: tuple[RuleName, ...] = ("none", "fm", "sm", "fm_sm")  # a row's rule id is its index here


class Refined(NamedTuple):
    """actions: (B, A). q_before, q_after: (B,), of the policy's action and of the chosen one. n_chosen: (B,) long, the
    number of steps that led to the chosen action; 0 = the policy's own."""

    actions: Tensor
    q_before: Tensor
    q_after: Tensor
    n_chosen: Tensor


class ActionGradient:
    """Action Gradient's settings and the refinement itself.

    eta: step size, in the unit `eta_unit` names. n_steps: gradient steps; 0 = the base policy. The defaults gained on 16
    of 18 policies of one file and harmed some of another (tests/results): look at the policy off and on. rule: none (eq.
    1), fm (eq. 6), sm (eq. 7), fm_sm (eq. 8). variant: of eq. 6 to 8, as the "paper" prints them or "standard": heavy
    ball, RMSProp and Adam with bias correction. zeta: decay of eq. 6 and 7. zeta_first, zeta_second: of eq. 8. epsilon:
    beside the root of eq. 7 and 8.
    q: which value is climbed and compared: "min" of the twins, "q1", their "mean", "target_min" of the target networks,
    "lower_bound" (mean - kappa std over members), "advantage" or "advantage_bound" (critic.model.n_advantage). kappa:
    std's weight in the bounds.
    clip: "each" projects every iterate on the action bounds before Q sees it, so the action scored is the action
    executed; "final" (the chosen action only) and "none" are for ablations.
    eta_unit: "raw" as printed, so eta depends on the reward scale; "rms" divides Q by the root mean square of its
    action gradient over the data, so one eta serves many datasets (sm and fm_sm hardly notice: their steps have no
    scale). max_shift: bound on every |a - a^0|, as a share of half the action range; for critics that mislead far
    from the data.
    """

    def __init__(
        self,
        eta: float = 0.01,
        n_steps: int = 5,
        *,
        rule: RuleName = "none",
        variant: Variant = "paper",
        q: QChoice = "min",
        clip: Literal["each", "final", "none"] = "each",
        eta_unit: Literal["raw", "rms"] = "rms",
        max_shift: float | None = None,
        zeta: float = 0.9,
        zeta_first: float = 0.9,
        zeta_second: float = 0.999,
        epsilon: float = 1e-8,
        kappa: float = 1.0,
    ) -> None:
        for name, value, known in (("rule", rule, RULES), ("clip", clip, ("each", "final", "none"))):
            if value not in known:
                raise UsageError(f"action gradient: {name}={value!r} is unknown; choose one of {', '.join(known)}")
        decays = {"zeta": zeta, "zeta_first": zeta_first, "zeta_second": zeta_second}
        refuse(
            "ag",
            eta=(eta, 0 <= eta < math.inf, "at least 0"),
            n_steps=(n_steps, n_steps >= 0, "at least 0; 0 is the policy alone"),
            max_shift=(max_shift, max_shift is None or max_shift >= 0, "at least 0, or null"),
            epsilon=(epsilon, epsilon >= 0, "at least 0"),
            kappa=(kappa, 0 <= kappa < math.inf, "at least 0"),
            **{name: (value, 0 <= value < 1, "in [0, 1)") for name, value in decays.items()},
        )
        self.eta = eta
        self.n_steps = n_steps
        self.rule = rule
        self.q = q
        self.clip = clip
        self.eta_unit = eta_unit
        self.max_shift = max_shift
        self.kappa = kappa
        self._rules: tuple[UpdateRule, ...] = (
            Plain(),
            FirstMoment(zeta, variant),
            SecondMoment(zeta, epsilon, variant),
            BothMoments(zeta_first, zeta_second, epsilon, variant),
        )

    def q_function(self, critic: Critic) -> QFunction:
        """The critic's value as `q` and `kappa` choose it, the same for gradient and comparison."""
        return lambda states, actions: critic.q_reduced(states, actions, self.q, self.kappa)

    def eta_scale(self, gradient_rms: float) -> float:
        """What `refine` takes as eta_scale. gradient_rms: from action_gradient_rms; 0 (a flat Q) leaves eta raw."""
        return 1.0 / gradient_rms if self.eta_unit == "rms" and gradient_rms > 0 else 1.0

    def refine(
        self,
        q_function: QFunction,
        states: Tensor,
        actions: Tensor,
        low: Tensor,
        high: Tensor,
        *,
        eta: Tensor | None = None,
        n_steps: Tensor | None = None,
        rule: Tensor | None = None,
        eta_scale: float = 1.0,
    ) -> Refined:
        """The best of a^0, ..., a^n under Q, a^0 = actions; ties go to the fewest steps.

        a^{i+1} = clip(a^i + eta * delta(g^i)),  g^i = dQ/da (s, a^i);  result argmax_i Q(s, a^i)      (eq. 1, 2, 6-8)

        states: (B, S), normalised as the critic was trained. actions: (B, A), within low, high: (A,).
        eta, n_steps, rule: (B,) in place of the constructor's, one per row; rule holds indices into RULES.
        eta_scale multiplies g: for none and fm the same as multiplying eta.

        A row in which Q or an iterate stops being finite keeps a^0. n forward and backward passes and one forward.
        Works under torch.inference_mode; fills no parameter's .grad.
        """
        with torch.inference_mode(False), torch.no_grad():
            base = actions.detach().clone()  # clones: inference tensors cannot take part in autograd
            states, low, high = states.detach().clone(), low.detach().clone(), high.detach().clone()
            lower, upper = self._bounds(base, low, high)
            rows = _Rows(
                lower=lower,
                upper=upper,
                eta=base.new_full((len(base),), self.eta) if eta is None else eta.clone().to(base),
                n_steps=_filled(n_steps, self.n_steps, base),
                rule=_filled(rule, RULES.index(self.rule), base),
            )
            refined = self._climb(q_function, states, base, rows, eta_scale)
            if self.clip == "final":
                moved = (refined.n_chosen > 0).unsqueeze(-1)
                refined = refined._replace(actions=torch.where(moved, refined.actions.clamp(low, high), base))
            return refined

    def _bounds(self, base: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        """(B, A) limits of every iterate."""
        infinity = torch.full_like(base, math.inf)
        lower, upper = (low.expand_as(base), high.expand_as(base)) if self.clip == "each" else (-infinity, infinity)
        if self.max_shift is None:
            return lower, upper
        shift = self.max_shift * (high - low) / 2
        return torch.maximum(base - shift, lower), torch.minimum(base + shift, upper)

    def _climb(self, q_function: QFunction, states: Tensor, base: Tensor, rows: _Rows, scale: float) -> Refined:
        """Algorithm 1's loop over all rows at once; a row that has taken its n_steps waits for the others."""
        present: list[int] = rows.rule.unique().tolist()
        memory: dict[int, State] = dict.fromkeys(present, ())
        action = best = base
        n_chosen = torch.zeros_like(rows.n_steps)
        last = int(rows.n_steps.max()) if len(base) else 0
        q, gradient = _value_and_gradient(q_function, states, base, needs_gradient=last > 0)
        q_before = best_q = q
        trusted = q.isfinite()
        for i in range(last):
            delta = torch.zeros_like(base)
            for name in present:
                step, memory[name] = self._rules[name].step(scale * gradient, memory[name], i)
                delta = torch.where((rows.rule == name).unsqueeze(-1), step, delta)
            active = i < rows.n_steps
            proposal = torch.clamp(action + rows.eta.unsqueeze(-1) * delta, rows.lower, rows.upper)
            action = torch.where(active.unsqueeze(-1), proposal, action)
            q, gradient = _value_and_gradient(q_function, states, action, needs_gradient=i + 1 < last)
            trusted = trusted & (~active | (q.isfinite() & action.isfinite().all(-1)))
            better = active & (q > best_q)
            best, best_q = torch.where(better.unsqueeze(-1), action, best), torch.where(better, q, best_q)
            n_chosen = n_chosen.masked_fill(better, i + 1)
        return Refined(
            torch.where(trusted.unsqueeze(-1), best, base),
            q_before,
            torch.where(trusted, best_q, q_before),
            n_chosen.masked_fill(~trusted, 0),
        )


class _Rows(NamedTuple):
    """What each row climbs with. lower, upper: (B, A); the others (B,)."""

    lower: Tensor
    upper: Tensor
    eta: Tensor
    n_steps: Tensor
    rule: Tensor


def rms_name(q: QChoice, kappa: float) -> str:
    """Under which the root-mean-square action gradient of a Q is kept; kappa belongs to the bounds alone."""
    return q if kappa == 1.0 or not q.endswith("bound") else f"{q}, kappa={kappa:g}"


def action_gradient_rms(q_function: QFunction, states: Tensor, actions: Tensor, batch_size: int = 4096) -> float:
    """sqrt(E_D ||dQ/da||^2), the typical slope of Q in the data, in units of Q per action unit.

    states: (N, S). actions: (N, A). batch_size: rows at a time, a matter of memory only.
    """
    total = 0.0
    with torch.inference_mode(False):
        for start in range(0, len(states), batch_size):
            part = slice(start, start + batch_size)
            _, gradient = _value_and_gradient(q_function, states[part].clone(), actions[part].clone())
            total += gradient.double().square().sum().item()
    return math.sqrt(total / max(len(states), 1))


def _value_and_gradient(
    q_function: QFunction, states: Tensor, actions: Tensor, *, needs_gradient: bool = True
) -> tuple[Tensor, Tensor]:
    """Q (B,) and dQ/da (B, A) of each row; zeros in place of a gradient that is not needed."""
    if not needs_gradient:
        return q_function(states, actions), torch.zeros_like(actions)
    with torch.enable_grad():
        variable = actions.detach().requires_grad_()
        q = q_function(states, variable)
        (gradient,) = torch.autograd.grad(q.sum(), variable)  # not mean(): it would divide eta by the number of rows
    return q.detach(), gradient


def _filled(per_row: Tensor | None, default: int, like: Tensor) -> Tensor:
    """(B,) long: the given values or the default everywhere."""
    if per_row is None:
        return torch.full((len(like),), default, dtype=torch.long, device=like.device)
    return per_row.to(like.device, torch.long, copy=True)
