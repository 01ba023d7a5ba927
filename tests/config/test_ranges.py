"""What no network can be built with is refused where it is written, not trained without a word."""

from __future__ import annotations

from typing import Any

import pytest

from dtag.config.build import build
from dtag.errors import UsageError

SUPPLIED = {"state_dim": 2, "action_dim": 1, "action_low": [-1.0], "action_high": [1.0], "max_timestep": 5}
RULE = {"target": "dtag.critic.target_rules.TargetPolicy"}
SIZES = {
    "dtag.policy.decision_transformer.DecisionTransformer": {"hidden": 0, "n_layers": 0, "n_heads": 0},
    "dtag.policy.return_model.ReturnTransformer": {"hidden": 0, "n_layers": -1, "n_heads": 0},
    "dtag.policy.return_model.ReturnMLP": {"hidden": 0, "n_layers": 0},
    "dtag.policy.mlp_policy.MLPPolicy": {"hidden": 0, "n_layers": 0},
    "dtag.policy.future_policy.FuturePolicy": {"hidden": 0, "n_layers": 0, "n_heads": 0},
    "dtag.policy.return_critic.ReturnCritic": {"hidden": 0, "n_layers": 0, "n_heads": 0},
    "dtag.critic.iql.IQL": {"hidden": [8, 0], "n_q": 0},
    "dtag.critic.bellman.BellmanCritic": {"hidden": [0], "n_q": 0},
    "dtag.critic.recurrent.RecurrentCritic": {"hidden": [], "n_q": 0},
    "dtag.critic.state_value.StateValue": {"hidden": [0]},
}
RATES = {"learning_rate": -1.0, "weight_decay": float("nan"), "discount": 1.5}


def cases() -> list[tuple[str, str, Any]]:
    sizes = [(target, name, value) for target, values in SIZES.items() for name, value in values.items()]
    critics = [target for target in SIZES if ".critic." in target]
    rates = [(target, name, value) for target in critics for name, value in RATES.items()]
    polyak = [(target, "polyak", 2.0) for target in critics if "StateValue" not in target]
    return [*sizes, *rates, *polyak]


@pytest.mark.parametrize(("target", "name", "value"), cases())
def test_sizes_and_rates_out_of_range_are_refused_with_their_class(target: str, name: str, value: Any) -> None:
    section = {"target": target} | ({"rule": RULE} if "Bellman" in target or "Recurrent" in target else {})
    build(section | {"n_heads": 1} if name == "n_heads" else section, **SUPPLIED)  # its defaults stand
    with pytest.raises(UsageError, match=rf"{target}: .*\b{name}=.* must (be at least|lie between)"):
        build(section | {name: value}, **SUPPLIED)
