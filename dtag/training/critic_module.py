"""CriticModule: a critic trained on transitions alone, apart from any policy."""

from __future__ import annotations

from typing import Any

from lightning import LightningModule
from torch import Tensor, nn

from dtag.data.segments import SegmentBatch
from dtag.data.spec import DataSpec
from dtag.data.step_generator import seed_step
from dtag.data.transitions import TransitionBatch
from dtag.products.linear import training_products
from dtag.training.backward import backward
from dtag.training.divergence import refuse_divergence
from dtag.training.optimizers import OptimizerSettings


class CriticModule(LightningModule):
    """Minimises critic.loss(batch), then moves the critic's targets; `updates_per_step` times a batch.

    critic: an nn.Module with loss(batch), optimizer() and update_target(); it learns from transitions, or from segments
    where its class says learns_from = "segments". optimizer: in place of the critic's own, with its warm-up and clip;
    n_steps: updates in all, for its schedule. Several updates per Lightning step keep the loop's own cost small against
    an update's 5 ms.
    """

    def __init__(
        self,
        *,
        critic: Any,
        spec: DataSpec,
        seed: int,
        updates_per_step: int,
        log_every: int,
        optimizer: OptimizerSettings | None = None,
        n_steps: int | None = None,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.critic: Any = critic
        self.spec, self.seed, self.settings, self.n_steps = spec, seed, optimizer, n_steps
        self.updates_per_step, self.log_every = updates_per_step, log_every
        self.n_updates = 0  # Lightning steps, each of updates_per_step critic updates
        self._latest_loss: Tensor | None = None

    def forward(self, batch: TransitionBatch | SegmentBatch) -> Any:
        return self.critic.loss(batch)

    @training_products()
    def training_step(self, batch: TransitionBatch | SegmentBatch, batch_idx: int) -> None:
        optimizer: Any = self.optimizers()
        seed_step(self.seed, "critic", self.global_rank, self.n_updates, self.device)  # a critic may use dropout
        size = len(batch.states) // self.updates_per_step
        for part in batch.split(size):
            loss, info = self(part)
            optimizer.zero_grad()
            backward(self, loss)
            if self.settings is not None and self.settings.gradient_clip > 0:
                nn.utils.clip_grad_norm_(self.critic.parameters(), self.settings.gradient_clip)
            optimizer.step()
            if self.settings is not None:
                self.lr_schedulers().step()  # type: ignore[union-attr]
            self.critic.update_target()
        self.n_updates += 1
        self._latest_loss = loss.detach()
        if self.n_updates % self.log_every == 0:
            self._refuse_nan(weights=False)
            self.log_dict({f"critic/{k}": v for k, v in {"loss": loss.detach(), **info}.items()}, batch_size=size)
            self.log("loss", loss.detach(), prog_bar=True, logger=False, batch_size=size)

    def on_train_end(self) -> None:
        self._refuse_nan()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self._refuse_nan()  # a NaN must never replace the last good checkpoint
        checkpoint["n_updates"] = self.n_updates

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.n_updates = checkpoint["n_updates"]

    def _refuse_nan(self, weights: bool = True) -> None:
        rate = "critic.model.learning_rate" if self.settings is None else "critic.optimizer.learning_rate"
        advice = (
            f"by update {self.n_updates * self.updates_per_step:,}; the last checkpoint, if any, is from before. Start "
            f"again with a lower {rate}, or check the rewards with `dtag data info`"
        )
        refuse_divergence("the critic's", self._latest_loss, self if weights else None, advice)

    def configure_optimizers(self) -> Any:
        if self.settings is None:
            return self.critic.optimizer()
        optimizer, scheduler = self.settings.make(self.critic, self.n_steps)
        return [optimizer], [scheduler]
