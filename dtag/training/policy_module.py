"""PolicyModule: a sequence policy, its return model and a named sum of loss terms, trained by Lightning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from lightning import LightningModule
from torch import Tensor, nn
from torch.optim import Adam

from dtag.data.segments import SegmentBatch
from dtag.data.spec import DataSpec
from dtag.data.step_generator import step_seed
from dtag.losses.term import LossTerm
from dtag.policy.output import PolicyOutput
from dtag.training.divergence import refuse_divergence
from dtag.training.optimizers import OptimizerSettings


class PolicyModule(LightningModule):
    """L = sum_i weight_i * term_i(batch, policy(batch), critic); one backward, an optimiser and a clip per network.

    The return model, when there is one, shares no parameter with the policy, so the single backward trains the two
    independently. critic: a Critic, or None; frozen: its parameters carry no gradient, but gradients pass through it
    to actions.
    """

    def __init__(
        self,
        *,
        policy: nn.Module,
        return_model: nn.Module | None,
        losses: Mapping[str, LossTerm],
        optimizer: OptimizerSettings,
        spec: DataSpec,
        seed: int,
        critic: Any = None,
        log_every: int = 50,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.policy, self.return_model = policy, return_model
        self.critic = critic
        self.terms = nn.ModuleDict({name: term for name, term in losses.items() if isinstance(term, nn.Module)})
        self.losses = dict(losses)
        self.settings, self.spec, self.seed, self.log_every = optimizer, spec, seed, log_every
        self.n_updates = 0
        self._latest_loss: Tensor | None = None
        if isinstance(self.critic, nn.Module):
            self.critic.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> PolicyModule:
        super().train(mode)
        if isinstance(self.critic, nn.Module):
            self.critic.eval()
        return self

    def forward(self, batch: SegmentBatch) -> PolicyOutput:
        inputs = (batch.states, batch.actions, batch.returns_to_go, batch.timesteps)
        output = self.policy(*inputs)
        if self.return_model is not None:
            output = output._replace(predicted_return=self.return_model(*inputs))
        return output

    def objective(self, batch: SegmentBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted sum of the terms and each term's loss and info under "<term>" and "<term>/<name>"."""
        output = self(batch)
        total, logged = torch.zeros((), device=batch.states.device), {}
        for name, term in self.losses.items():
            loss, info = term(batch, output, self.critic)
            total = total + term.weight * loss
            logged[name] = loss.detach()
            logged.update({f"{name}/{key}": value for key, value in info.items()})
        return total, {"loss": total.detach(), **logged}

    def training_step(self, batch: SegmentBatch, batch_idx: int) -> None:
        torch.manual_seed(
            step_seed(self.seed, "torch", self.global_rank, self.n_updates)
        )  # dropout: a function of the step
        optimizers, schedulers = self._all(self.optimizers()), self._all(self.lr_schedulers())
        loss, logged = self.objective(batch)
        self.manual_backward(loss)
        for index, optimizer in enumerate(optimizers):
            if index < len(schedulers) and self.settings.gradient_clip > 0:  # networks first, then the terms' own
                params = [p for group in optimizer.param_groups for p in group["params"]]
                nn.utils.clip_grad_norm_(params, self.settings.gradient_clip)
            optimizer.step()
            optimizer.zero_grad()
        for scheduler in schedulers:
            scheduler.step()
        self.n_updates += 1
        self._latest_loss = loss.detach()
        if self.n_updates % self.log_every == 0:
            self._refuse_nan(weights=False)
            rate = {"learning_rate": schedulers[0].get_last_lr()[0]}
            self.log_dict({f"train/{k}": v for k, v in {**logged, **rate}.items()}, batch_size=len(batch.mask))
            self.log("loss", loss.detach(), prog_bar=True, logger=False, batch_size=len(batch.mask))

    def validation_step(self, batch: SegmentBatch | None, batch_idx: int) -> None:
        if batch is None:
            return
        _, logged = self.objective(batch)
        self.log_dict({f"held_out/{k}": v for k, v in logged.items()}, batch_size=len(batch.mask), sync_dist=True)

    def configure_optimizers(self) -> Any:
        made = [self.settings.make(network) for network in (self.policy, self.return_model) if network is not None]
        optimizers: list[Any] = [optimizer for optimizer, _ in made]
        own = [
            {"params": list(t.parameters()), "lr": t.learning_rate} for t in self.terms.values() if list(t.parameters())
        ]
        if own:
            optimizers.append(Adam(own))
        return optimizers, [scheduler for _, scheduler in made]

    def on_validation_start(self) -> None:
        self._refuse_nan()  # before episodes are spent on it

    def on_train_end(self) -> None:
        self._refuse_nan()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self._refuse_nan()  # a NaN must never replace the last good checkpoint
        checkpoint["n_updates"] = self.n_updates

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.n_updates = checkpoint["n_updates"]

    def _refuse_nan(self, weights: bool = True) -> None:
        advice = (
            f"by step {self.n_updates:,}; the last checkpoint, if any, is from before. Start again with a lower "
            "optimizer.learning_rate or more optimizer.warmup_steps"
        )
        refuse_divergence("the policy's", self._latest_loss, self if weights else None, advice)

    @staticmethod
    def _all(value: Any) -> list[Any]:
        return list(value) if isinstance(value, list | tuple) else [value]
