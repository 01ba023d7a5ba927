"""The evaluator callback: episodes with Action Gradient off and on during Lightning's validation."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import distributed

from dtag.evaluation.evaluate import AG_OFF, AG_ON, environment_factory, evaluate, plans_off_and_on, row_to_dict
from dtag.evaluation.scores import EpisodeScores
from dtag.evaluation.settings import EvaluationSettings
from dtag.rollout.agent import Agent
from dtag.rollout.episodes import EpisodePlan, EpisodeRow, Interrupted

KEYS = {AG_OFF: "ag_off", AG_ON: "ag_on"}


class Evaluator(Callback):
    """Rolls out every episode once over all ranks, logs the aggregate, keeps the rows.

    make_agent: builds the agent from the module being validated. Episode i has seed base + i and goes to rank
    i mod world_size; rows never depend on each other, so any number of ranks reports the same. Logs
    eval/<ag_off|ag_on>/{score,return,length,...} and eval/score, that of the result (AG on, where there is a critic; of
    the first target return), which checkpoints may monitor. rows_file: one JSON line per episode is appended to it; None
    keeps them in `rows` only. stop: see `rollout`; its Interrupted leaves through the Trainer. facts: more to write into
    each line, as it is when the episodes were run.
    """

    def __init__(
        self,
        make_agent: Callable[[LightningModule], Agent],
        settings: EvaluationSettings,
        *,
        rows_file: Path | None = None,
        stop: Callable[[], bool] | None = None,
        on_step: Callable[[int, int], None] | None = None,
        keep_states: bool = False,
        plans: Callable[[Agent, EvaluationSettings], list[EpisodePlan]] = plans_off_and_on,
        facts: Callable[[], dict[str, Any]] = dict,
    ) -> None:
        self.make_agent, self.settings, self.rows_file = make_agent, settings, rows_file
        self.stop, self.on_step, self.keep_states, self.plans = stop, on_step, keep_states, plans
        self.facts = facts
        self.rows: list[dict[str, Any]] = []
        self.episodes: list[EpisodeRow] = []
        self.summary: dict[str, dict[str, dict[str, float]]] = {}
        self.n_updates: int | None = None  # of the module, at the last evaluation

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking:
            return
        if self._stops_anywhere(trainer):
            raise Interrupted  # as in the midst of an episode: a caller must not take the last evaluation's rows for these
        with torch.inference_mode(False):  # a tensor made under inference mode could never take part in a gradient
            agent = self.make_agent(pl_module)
        factory = environment_factory(self.settings, agent.spec)
        self.n_updates = step = int(getattr(pl_module, "n_updates", 0))
        if factory is None:
            return
        plans = self.plans(agent, self.settings)
        mine = plans_of_rank(plans, trainer.global_rank, trainer.world_size)
        options = {"stop": self.stop, "on_step": self.on_step, "keep_states": self.keep_states}
        try:
            episodes = evaluate(agent, factory, [plan for _, plan in mine], self.settings, **options)
        except Interrupted:  # here alone: the other ranks wait for this one's rows
            _gather(None)
            raise
        self.episodes = _gather(list(zip([index for index, _ in mine], episodes, strict=True)))
        self.rows = [row_to_dict(row, agent.spec) for row in self.episodes]
        self.summary = self._summarize([row_to_dict(row, agent.spec) for row in episodes], plans, pl_module)
        self._log(trainer, pl_module)
        if self.rows_file is not None and trainer.is_global_zero:
            with self.rows_file.open("a") as file:
                if not _ends_a_line(self.rows_file):  # the process was killed as it wrote
                    file.write("\n")
                file.writelines(json.dumps({"step": step, **self.facts(), **row}) + "\n" for row in self.rows)

    def _stops_anywhere(self, trainer: Trainer) -> bool:
        requested = self.stop is not None and self.stop()
        if trainer.world_size == 1:
            return requested
        return trainer.strategy.reduce_boolean_decision(requested, all=False)

    def _summarize(
        self, own_rows: Sequence[dict[str, Any]], plans: Sequence[EpisodePlan], pl_module: LightningModule
    ) -> dict[str, dict[str, dict[str, float]]]:
        """{label: {quantity: {"mean", "std", "iqm", "n"}}}; torchmetrics gathers over ranks."""
        labels = list(dict.fromkeys(plan.label for plan in plans))
        index = torch.tensor([labels.index(row["label"]) for row in own_rows], dtype=torch.long)
        result: dict[str, dict[str, dict[str, float]]] = {label: {} for label in labels}
        for quantity in ("score", "return", "length", "context_length", "q_gain", "shift"):
            if not self.rows or self.rows[0][quantity] is None:
                continue
            metric = EpisodeScores(labels).to(pl_module.device)
            values = torch.tensor([row[quantity] for row in own_rows], dtype=torch.float64)
            metric.update(index.to(pl_module.device), values.to(pl_module.device))
            for label, summed in metric.compute().items():
                result[label][quantity] = summed
        return result

    def _log(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for label, quantities in self.summary.items():
            for quantity, summed in quantities.items():
                pl_module.log(f"eval/{KEYS.get(label, label)}/{quantity}", summed["mean"], rank_zero_only=True)
            for statistic in ("std", "iqm"):
                kind = "score" if "score" in quantities else "return"
                pl_module.log(
                    f"eval/{KEYS.get(label, label)}/{kind}_{statistic}",
                    quantities[kind][statistic],
                    rank_zero_only=True,
                )
        result = self.summary.get(AG_ON) or self.summary.get(AG_OFF) or list(self.summary.values())[-1]
        quantity = "score" if "score" in result else "return"
        best = result[quantity]["mean"]
        pl_module.log("eval/score", best)
        pl_module.log(quantity, best, prog_bar=True, logger=False)


def plans_of_rank(plans: Sequence[EpisodePlan], rank: int, world_size: int) -> list[tuple[int, EpisodePlan]]:
    """(index, plan) of the episodes whose seed falls to this rank: all settings of a seed go to the same one."""
    first = min((plan.seed for plan in plans), default=0)
    return [(index, plan) for index, plan in enumerate(plans) if (plan.seed - first) % world_size == rank]


def _gather(own: list[tuple[int, EpisodeRow]] | None) -> list[EpisodeRow]:
    """All ranks' rows, in the order of the plans. None for own: this rank was told to stop, so Interrupted on all others."""
    parts: list[Any] = [own]
    if distributed.is_available() and distributed.is_initialized():
        parts = [None] * distributed.get_world_size()
        distributed.all_gather_object(parts, own)
    if own is not None and None in parts:
        raise Interrupted
    return [row for _, row in sorted((pair for part in parts for pair in part or ()), key=lambda pair: pair[0])]


def _ends_a_line(file: Path) -> bool:
    """Whether what is appended to the file begins a line."""
    with file.open("rb") as opened:
        if not opened.seek(0, 2):
            return True
        opened.seek(-1, 2)
        return opened.read() == b"\n"
