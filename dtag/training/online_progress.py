"""The progress bar of online fine-tuning: a round's updates, under the environment steps taken so far."""

from __future__ import annotations

from dtag.training.callbacks import LossProgress
from dtag.training.collector import Collector


class OnlineProgress(LossProgress):
    """A bar of each round's policy steps, with the loss, the latest score and how much of the budget is spent."""

    def __init__(self, collector: Collector) -> None:
        super().__init__()
        self.collector = collector

    def _get_train_description(self, current_epoch: int) -> str:
        collector = self.collector
        budget = collector.settings.n_environment_steps
        return f"round {collector.n_rounds} · {collector.n_environment_steps:,} of {budget:,} steps"
