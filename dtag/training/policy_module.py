"""PolicyModule: a sequence policy, its return model and a named sum of loss terms, trained by Lightning."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from lightning import LightningModule
from torch import Tensor, nn
from torch.optim import Adam

from dtag.critic.critic import SegmentCritic
from dtag.data.segments import SegmentBatch
from dtag.data.spec import DataSpec
from dtag.data.step_generator import seed_step
from dtag.errors import UsageError
from dtag.losses.entropy_bonus import EntropyBonus
from dtag.losses.policy_gradient import q_of_segments
from dtag.losses.term import LossTerm, source_of
from dtag.policy.future_policy import FuturePolicy
from dtag.policy.output import PolicyOutput
from dtag.policy.value_return import ValueReturn
from dtag.products.linear import training_products
from dtag.reductions.masked_mean import masked_mean
from dtag.training.average_gradients import average_gradients
from dtag.training.backward import backward
from dtag.training.divergence import refuse_divergence
from dtag.training.optimizers import OptimizerSettings
from dtag.training.segment_actor import SegmentActor


class PolicyModule(LightningModule):
    """L = sum_i weight_i * term_i(batch, policy(batch), critic); one backward, an optimiser and a clip per network.

    The return model, when there is one, shares no parameter with the policy, so the single backward trains the two
    independently. critic: a Critic, or None. Its parameters carry no gradient in the policy's objective, but gradients
    pass through it to actions. policy_delay: 0 = the critic is frozen; else it learns along: a step's batch holds
    policy_delay batches end to end, the critic learns from each, and policy and target networks move after the first.
    n_steps: of training, where the optimiser's schedule asks for it. first_step: where that schedule begins.
    gradient_norms: log the gradient norm that each weighted term gives the policy, a backward a term every log_every.
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
        policy_delay: int = 0,
        n_steps: int | None = None,
        first_step: int = 0,
        gradient_norms: bool = False,
        log_every: int = 50,
    ) -> None:
        super().__init__()
        if isinstance(policy, FuturePolicy) and policy_delay:
            raise UsageError("a critic that learns along cannot follow a policy with latents (PDT): set critic=null")
        self.automatic_optimization = False
        self.policy, self.return_model = policy, return_model
        self.critic = critic
        self.terms = nn.ModuleDict({name: term for name, term in losses.items() if isinstance(term, nn.Module)})
        self.losses = dict(losses)
        self.settings, self.spec, self.seed, self.log_every = optimizer, spec, seed, log_every
        self.n_updates = 0
        self._latest_loss: Tensor | None = None
        self._latest_critic_loss: Tensor | None = None  # of a critic that learns along
        self._latest_terms: dict[str, Tensor] = {}
        self.policy_delay, self.n_steps, self.first_step = policy_delay, n_steps, first_step
        self.gradient_norms = gradient_norms
        self.target_policy = copy.deepcopy(policy).requires_grad_(False).eval() if policy_delay else None
        if isinstance(self.critic, nn.Module):
            self.critic.requires_grad_(False).eval()
        if isinstance(return_model, ValueReturn):
            return_model.attach(critic)

    def train(self, mode: bool = True) -> PolicyModule:
        super().train(mode)
        for module in (self.critic, self.target_policy):
            if isinstance(module, nn.Module):
                module.eval()
        return self

    def forward(self, batch: SegmentBatch) -> PolicyOutput:
        if isinstance(self.policy, FuturePolicy):
            return self.policy.learn(batch)
        inputs = (batch.states, batch.actions, batch.returns_to_go, batch.timesteps)
        output = self.policy(*inputs)
        if self.return_model is not None and not isinstance(self.return_model, ValueReturn):
            output = output._replace(predicted_return=self.return_model(*inputs))
        return output

    @property
    def reads_recent(self) -> bool:
        """Whether a term or the critic learns from the newest collected steps."""
        return "recent" in (*map(source_of, self.losses.values()), getattr(self.critic, "learns_from", None))

    @property
    def needs_log_prob(self) -> bool:
        """Whether a term reads the likelihood of collected actions under the policy that collected them."""
        return any(getattr(term, "needs_log_prob", False) for term in self.losses.values())

    def recent_output(self, batch: SegmentBatch) -> PolicyOutput:
        """What the policy says of collected segments, without dropout as when it collected them."""
        was_training = self.policy.training
        self.policy.eval()
        output: PolicyOutput = self.policy(batch.states, batch.actions, batch.returns_to_go, batch.timesteps)
        self.policy.train(was_training)
        return output

    def objective(self, batch: SegmentBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted sum of the terms and each term's loss and info under "<term>" and "<term>/<name>"."""
        parts, logged = self.weighted_terms(batch)
        total = torch.zeros((), device=batch.states.device)
        for part in parts.values():
            total = total + part
        return total, {"loss": total.detach(), **logged}

    def weighted_terms(self, batch: SegmentBatch) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """weight * loss of every term, by name, and what `objective` logs of them."""
        if isinstance(self.return_model, ValueReturn):
            batch = self.return_model.relabel(batch)
        seen = self._seen(batch)
        parts: dict[str, Tensor] = {}
        logged: dict[str, Tensor] = {}
        for name, term in self.losses.items():
            loss, info = self._asked(name, term, seen[source_of(term)])
            parts[name] = term.weight * loss
            logged[name] = self._latest_terms[name] = loss.detach()
            logged.update({f"{name}/{key}": value for key, value in info.items()})
        return parts, logged

    def _asked(self, name: str, term: Any, seen: tuple[SegmentBatch, PolicyOutput]) -> tuple[Tensor, dict[str, Tensor]]:
        """A term's loss and info. Raises UsageError, naming it, when it cannot be used here or breaks the contract."""
        if not hasattr(term, "weight"):
            raise UsageError(f"losses.{name}: a loss term needs a `weight`, by which its loss is multiplied")
        try:
            found = term(*seen, self.critic)
        except ValueError as error:
            raise UsageError(f"losses.{name}: {error}") from error
        except Exception as error:
            error.add_note(f"raised by losses.{name}, {type(term).__module__}.{type(term).__qualname__}")
            raise
        if not (isinstance(found, tuple) and len(found) == 2 and isinstance(found[1], dict)) or found[0].ndim:
            raise UsageError(f"losses.{name} must return (loss, info): a scalar and a dict of what to log")
        return found

    def _seen(self, batch: SegmentBatch) -> dict[str, tuple[SegmentBatch, PolicyOutput]]:
        """The segments of every source that a term reads, and the policy's output on them."""
        sources = {source_of(term) for term in self.losses.values()}
        seen = {"replay": (batch, self(batch))} if "replay" in sources else {}
        if "recent" in sources:
            recent = recent_of(batch)
            seen["recent"] = (recent, self.recent_output(recent))
        return seen

    @training_products()
    def training_step(self, batch: SegmentBatch, batch_idx: int) -> None:
        seed_step(self.seed, "torch", self.global_rank, self.n_updates, self.device)
        optimizers, schedulers = self._all(self.optimizers()), self._all(self.lr_schedulers())
        if not self.policy_delay:
            loss, logged = self._policy_step(batch, optimizers, schedulers)
        else:
            *optimizers, critic_optimizer = optimizers
            first, *others = batch.split(len(batch.mask) // self.policy_delay)
            critic_logged = self._critic_step(first, critic_optimizer)
            loss, logged = self._policy_step(first, optimizers, schedulers)
            logged.update({f"critic/{name}": value for name, value in critic_logged.items()})
            self._move_targets()
            for other in others:
                self._critic_step(other, critic_optimizer)
        self.n_updates += 1
        self._latest_loss = loss.detach()
        if self.n_updates % self.log_every == 0:
            self._refuse_nan(weights=False)
            rate = {"learning_rate": schedulers[0].get_last_lr()[0]}
            self.log_dict({f"train/{k}": v for k, v in {**logged, **rate}.items()}, batch_size=len(batch.mask))
            self.log("loss", loss.detach(), prog_bar=True, logger=False, batch_size=len(batch.mask))

    def _policy_step(
        self, batch: SegmentBatch, optimizers: list[Any], schedulers: list[Any]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        watched = self._watched(batch) if self.gradient_norms and self._logs_next() else {}
        loss, logged = self.objective(batch)
        logged.update(watched)
        if not loss.requires_grad:  # no term has anything to teach yet; LAMB would shrink the weights all the same
            return loss, logged
        backward(self, loss)
        for index, optimizer in enumerate(optimizers):
            if index < len(schedulers) and self.settings.gradient_clip > 0:  # networks first, then the terms' own
                params = [p for group in optimizer.param_groups for p in group["params"]]
                nn.utils.clip_grad_norm_(params, self.settings.gradient_clip)
            optimizer.step()
            optimizer.zero_grad()
        for scheduler in schedulers:
            scheduler.step()
        return loss, logged

    def _logs_next(self) -> bool:
        return (self.n_updates + 1) % self.log_every == 0

    def _watched(self, batch: SegmentBatch) -> dict[str, Tensor]:
        """The 2-norm over the policy's parameters of each weighted term's gradient, under "<term>/gradient_norm", and
        "policy_q": the mean over valid positions of Q1 at the policy's own action, where there is a critic with a Q.

        Leaves no trace: the dropout masks of the step that follows are those it would have had, and terms that count
        training steps do not count this one.
        """
        self.terms.eval()
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            parts, _ = self.weighted_terms(batch)
            has_q = hasattr(self.critic, "q_reduced") or isinstance(self.critic, SegmentCritic)
            norms = {"policy_q": self._policy_q(batch)} if has_q else {}
        self.terms.train()
        parameters = [p for p in self.policy.parameters() if p.requires_grad]
        for name, part in parts.items():
            if part.requires_grad:
                found = torch.autograd.grad(part, parameters, retain_graph=True, allow_unused=True)
                reached = [g.norm() for g in found if g is not None]  # none: a term of the return model's, say
                norms[f"{name}/gradient_norm"] = torch.stack(reached).norm() if reached else part.new_zeros(())
        return norms

    @torch.no_grad()
    def _policy_q(self, batch: SegmentBatch) -> Tensor:
        if isinstance(self.return_model, ValueReturn):
            batch = self.return_model.relabel(batch)
        return masked_mean(q_of_segments(self.critic, batch, self(batch).action, "q1"), batch.mask)

    def _critic_step(self, batch: SegmentBatch, optimizer: Any) -> dict[str, Tensor]:
        """One update of a critic that learns along; info of its loss."""
        self.critic.requires_grad_(True)
        loss, info = self.critic_loss(batch)
        backward(self, loss)
        average_gradients(self.critic)  # DDP knows only what needs a gradient in the policy's objective
        optimizer.step()
        optimizer.zero_grad()
        self.critic.requires_grad_(False)  # the policy's objective must not leave gradients in it
        self._latest_critic_loss = loss.detach()
        return {"loss": loss.detach(), **info}

    def critic_loss(self, batch: SegmentBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss, and its info, of a critic that learns along: on what its class says it learns from."""
        assert self.target_policy is not None
        learns_from = getattr(self.critic, "learns_from", "transitions")
        found: tuple[Tensor, dict[str, Tensor]]
        if learns_from == "recent":
            found = self.critic.loss(recent_of(batch))
        else:
            actor = SegmentActor(self.policy, self.target_policy, batch, self._temperature())
            found = self.critic.loss(batch if learns_from == "segments" else actor.transitions(), actor)
        return found

    def _temperature(self) -> float:
        """lambda of the entropy bonus among the terms, 0 where there is none."""
        for term in self.losses.values():
            bonus = getattr(term, "bonus", term)
            if isinstance(bonus, EntropyBonus):
                return float(bonus.log_temperature.detach().exp())
        return 0.0

    @torch.no_grad()
    def _move_targets(self) -> None:
        """The critic's targets and the target policy, each a step towards its online network."""
        assert self.target_policy is not None
        self.critic.update_target()
        torch._foreach_lerp_(list(self.target_policy.parameters()), list(self.policy.parameters()), self.critic.polyak)

    def validation_step(self, batch: SegmentBatch | None, batch_idx: int) -> None:
        if batch is None:
            return
        _, logged = self.objective(batch)
        self.log_dict({f"held_out/{k}": v for k, v in logged.items()}, batch_size=len(batch.mask), sync_dist=True)

    def configure_optimizers(self) -> Any:
        trained = [network for network in (self.policy, self.return_model) if network is not None]
        made = [
            self.settings.make(network, self.n_steps, self.first_step)
            for network in trained
            if any(True for _ in network.parameters())
        ]
        optimizers: list[Any] = [optimizer for optimizer, _ in made]
        own = [
            {"params": list(t.parameters()), "lr": t.learning_rate} for t in self.terms.values() if list(t.parameters())
        ]
        if own:
            optimizers.append(Adam(own))
        if self.policy_delay:
            optimizers.append(self.critic.requires_grad_(True).optimizer())
            self.critic.requires_grad_(False)
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
        broken = [f"losses.{name}" for name, loss in self._latest_terms.items() if not torch.isfinite(loss)]
        where = f" in {', '.join(broken)}" if broken else ""
        before = "the last checkpoint, if any, is from before. Start again with a lower"
        advice = (
            f"by step {self.n_updates:,}{where}; {before} optimizer.learning_rate or more optimizer.warmup_steps; where "
            "it is so from the first step on, look at the term and the data instead"
        )
        refuse_divergence("the policy's", self._latest_loss, None, advice)
        if self._latest_critic_loss is not None:
            of_critic = f"by step {self.n_updates:,}; {before} critic.model.learning_rate"
            refuse_divergence("the critic's", self._latest_critic_loss, self.critic if weights else None, of_critic)
        refuse_divergence("the policy's", None, self if weights else None, advice)

    @staticmethod
    def _all(value: Any) -> list[Any]:
        return list(value) if isinstance(value, list | tuple) else [value]


def recent_of(batch: SegmentBatch) -> SegmentBatch:
    """Its segments of collected steps. Raises UsageError where there are none, offline."""
    if batch.recent is None:
        raise UsageError(
            "a loss or the critic learns from what was just collected (AWR, PPO): use it with dtag finetune"
        )
    return batch.recent
