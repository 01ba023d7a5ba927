"""LAMB: Adam with a layer-wise trust ratio, as Reinformer and ODT use it.

Reference: You et al. 2020, Algorithm 2, in the variant of ODT's code: bias-corrected moments, decoupled weight decay
added to the update of every parameter (biases, LayerNorm and embeddings too), trust ratio |w| / |u| unclipped and 1
where either norm is 0. That code's inner clip of the global gradient norm at 1.0 never acts behind the outer clip at
0.25 and is left out. Trap: a tensor that starts at zero grows by at most a factor (1 + lr) per step, so LAMB freezes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer


class Lamb(Optimizer):
    """w <- w - lr * (|w| / |u|) * u,   u = m_hat / (sqrt(v_hat) + eps) + weight_decay * w."""

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-4,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor | None:  # type: ignore[override]
        """One update of every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            self._step_group(group)
        return loss

    def _step_group(self, group: dict[str, Any]) -> None:
        params = [p for p in group["params"] if p.grad is not None]
        if not params:
            return
        gradients = [p.grad for p in params]
        for p in params:
            state = self.state[p]
            if not state:
                state["step"] = 0
                state["mean"], state["square"] = torch.zeros_like(p), torch.zeros_like(p)
            state["step"] += 1
        means = [self.state[p]["mean"] for p in params]
        squares = [self.state[p]["square"] for p in params]
        beta1, beta2 = group["betas"]
        steps = [self.state[p]["step"] for p in params]  # apart: a gradient may come later to one than to others
        torch._foreach_lerp_(means, gradients, 1 - beta1)
        torch._foreach_mul_(squares, beta2)
        torch._foreach_addcmul_(squares, gradients, gradients, 1 - beta2)
        denominators = torch._foreach_div(squares, [1 - beta2**step for step in steps])
        torch._foreach_sqrt_(denominators)
        torch._foreach_add_(denominators, group["eps"])
        updates = torch._foreach_div(means, [1 - beta1**step for step in steps])
        torch._foreach_div_(updates, denominators)
        torch._foreach_add_(updates, params, alpha=group["weight_decay"])
        weight_norms = torch.stack(torch._foreach_norm(params))
        update_norms = torch.stack(torch._foreach_norm(updates))
        usable = (weight_norms > 0) & (update_norms > 0)
        ratios = torch.where(usable, weight_norms / update_norms, torch.ones_like(weight_norms))
        torch._foreach_mul_(updates, list((ratios * group["lr"]).unbind()))
        torch._foreach_sub_(params, updates)
