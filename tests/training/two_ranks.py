"""Run by torch.distributed.run in two processes: two_ranks.py CONFIG; each rank writes beside it what it found.

A critic that learns along is trained beside the policy by DDP, then an evaluation is stopped on rank 1 alone.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from lightning import Callback
from torch import distributed, nn

from dtag.config.load import load_config
from dtag.config.schema import check
from dtag.evaluation.evaluate import plans_off_and_on
from dtag.evaluation.evaluator import Evaluator
from dtag.rollout.episodes import Interrupted
from dtag.training.average_gradients import average_gradients
from dtag.training.experiment import SCHEMA
from dtag.training.fit import fit


class Compare(Callback):
    """Notes how far the ranks' networks are apart, and that an evaluation that one rank stops ends on both."""

    def __init__(self) -> None:
        self.found: dict[str, Any] = {}

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        for name in ("policy", "critic"):
            flat = torch.cat([p.detach().flatten() for p in getattr(pl_module, name).parameters()])
            of_all = [torch.empty_like(flat) for _ in range(2)]
            distributed.all_gather(of_all, flat)
            self.found[name] = (of_all[0] - of_all[1]).abs().max().item()
        self.found["mean"] = self._average()
        asked: list[int] = []

        def stop() -> bool:
            asked.append(1)
            return trainer.global_rank == 1 and len(asked) > 3

        own = next(callback for callback in trainer.callbacks if isinstance(callback, Evaluator))
        evaluator = Evaluator(own.make_agent, own.settings, stop=stop, plans=plans_off_and_on)
        try:
            evaluator.on_validation_epoch_end(trainer, pl_module)
            self.found["evaluation"] = "ended"
        except Interrupted:
            self.found["evaluation"] = "interrupted"

    def _average(self) -> list[float]:
        network = nn.Linear(2, 1)
        for parameter in network.parameters():
            parameter.grad = torch.full_like(parameter, float(distributed.get_rank() + 1))
        average_gradients(network)
        return [float(parameter.grad.mean()) for parameter in network.parameters() if parameter.grad is not None]


if __name__ == "__main__":
    file, compare = Path(sys.argv[1]), Compare()
    fit(check(load_config([file]), SCHEMA), callbacks=[compare])
    (file.parent / f"rank{distributed.get_rank()}.json").write_text(json.dumps(compare.found))
