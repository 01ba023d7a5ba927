"""The progress bar's share of a training step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from lightning import Trainer
from lightning.pytorch.demos.boring_classes import BoringModel

from dtag.training.callbacks import StageProgress

N_STEPS = 64  # BoringModel's epoch


class Counted(StageProgress):
    """Counts how often the metrics are read, and keeps what the bar shows at the end of training."""

    n_reads = 0
    completed = 0.0

    def get_metrics(self, *args: Any) -> Any:
        self.n_reads += 1
        return super().get_metrics(*args)

    def on_train_epoch_end(self, *args: Any) -> None:
        assert self.progress is not None
        assert self.train_progress_bar_id is not None
        self.completed = self.progress.tasks[int(self.train_progress_bar_id)].completed
        super().on_train_epoch_end(*args)


@pytest.mark.parametrize(
    ("per_second", "n_reads"),
    [(1e-3, 3), (1e9, N_STEPS + 1)],  # the first step, the last, the epoch's end; every step and the epoch's end
    ids=["seldom", "always"],
)
def test_metrics_are_read_a_few_times_a_second_and_at_the_last_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, per_second: float, n_reads: int
) -> None:
    bar = Counted("policy")  # its thread at the bar's own rate
    monkeypatch.setattr(bar, "refreshes_per_second", per_second)
    trainer = Trainer(
        default_root_dir=tmp_path,
        accelerator="cpu",
        max_epochs=1,
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        callbacks=[bar],
    )
    trainer.fit(BoringModel())
    assert bar.refresh_rate <= 10
    assert bar.completed == N_STEPS
    assert bar.n_reads == n_reads
