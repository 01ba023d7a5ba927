"""How long training will take, asked of every kind of critic and loss."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dtag.config.build import build
from dtag.config.schema import check
from dtag.errors import UsageError
from dtag.training.estimate import estimate_seconds
from dtag.training.experiment import SCHEMA, build_data
from tests.training.test_finetune_recent import LOSSES, value_critic
from tests.training.test_live_critic import config, live

RECURRENT = {**live(), "model": {**live()["model"], "target": "dtag.critic.recurrent.RecurrentCritic"}}


def _seconds(own: dict[str, Any], **options: Any) -> dict[str, float]:
    own = check(own, SCHEMA)
    return estimate_seconds(own, build_data(own), build(own["train"]), "all", **options)


@pytest.mark.parametrize("critic", [live(), RECURRENT, None], ids=["bellman", "recurrent", "none"])
def test_a_critic_that_learns_along_is_part_of_the_policys_time(tmp_path: Path, critic: Any) -> None:
    own = {**config(tmp_path), "critic": critic, "ag": None}
    if critic is None:
        own["losses"] = {"action": own["losses"]["action"]}
    found = _seconds(own)
    assert set(found) == {"policy"}
    assert found["policy"] > 0


@pytest.mark.parametrize("method", sorted(LOSSES))
def test_what_learns_from_collected_steps_is_timed_on_the_data_when_asked_to(tmp_path: Path, method: str) -> None:
    own = {**config(tmp_path), "critic": value_critic(), "losses": LOSSES[method], "ag": None}
    own["policy"] = {**own["policy"], "head": "squashed"}
    assert _seconds(own, as_collected=True)["policy"] > 0
    with pytest.raises(UsageError, match="dtag finetune"):
        _seconds(own)
