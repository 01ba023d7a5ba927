"""Where a run's metrics go: the `log` section of a config."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger

from dtag.errors import UsageError


@dataclass(frozen=True)
class LogSettings:
    """tensorboard, csv: under the run's logs folder. wandb: a Weights & Biases project; null = off (extra `wandb`)."""

    tensorboard: bool = True
    csv: bool = True
    wandb: str | None = None

    def make(self, folder: Path, stage: str) -> list[Logger]:
        """Loggers of one stage. A resumed run writes its CSV as a further part: Lightning's would erase the first."""
        made: list[Logger] = []
        if self.tensorboard:
            made.append(TensorBoardLogger(folder, name="tensorboard", version=stage, default_hp_metric=False))
        if self.csv:
            part = len(list((folder / "csv").glob(f"{stage}*")))
            made.append(CSVLogger(folder, name="csv", version=stage if part == 0 else f"{stage}-part{part + 1}"))
        if self.wandb is not None:
            try:
                from lightning.pytorch.loggers import WandbLogger

                made.append(WandbLogger(project=self.wandb, save_dir=folder, name=f"{folder.parent.name}-{stage}"))
            except ImportError as error:
                raise UsageError("log.wandb needs: pip install -e '.[wandb]'") from error
        return made
