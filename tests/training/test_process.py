"""The machine that a Trainer is made for."""

from __future__ import annotations

from typing import Any

import pytest

from dtag.training.process import make_trainer
from dtag.training.settings import TrainSettings


@pytest.mark.parametrize(
    ("settings", "allows"),
    [
        ({"devices": 1}, None),
        ({"devices": "1"}, None),
        ({"devices": 2}, True),
        ({"devices": "2"}, True),
        ({"devices": 2, "strategy": "ddp"}, False),
    ],
)
def test_several_devices_allow_weights_that_no_term_uses(settings: dict[str, Any], allows: bool | None) -> None:
    trainer = make_trainer(TrainSettings(accelerator="cpu", **settings), logger=False)
    options = getattr(trainer.strategy, "_ddp_kwargs", None)
    assert (None if options is None else options.get("find_unused_parameters", False)) == allows
