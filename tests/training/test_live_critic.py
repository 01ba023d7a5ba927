"""A policy and a critic that learn along: who moves when, what a run leaves, and that a stopped one resumes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Callback

from dtag.errors import DtagError, UsageError
from dtag.training.checkpoint import load_agent
from dtag.training.fit import fit
from dtag.training.policy_module import PolicyModule
from dtag.training.signals import Stopped
from tests.reference.toy_environment import line_config, store_line

LOSSES = {
    "action": {"target": "dtag.losses.action_mse.ActionMSE"},
    "td3": {"target": "dtag.losses.policy_gradient.PolicyGradient", "q": "q1", "normalize": False, "weight": 0.1},
}


def live(delay: int = 2, **model: Any) -> dict[str, Any]:
    rule = {"target": "dtag.critic.target_rules.TargetPolicy"}
    return {
        "target": "dtag.training.settings.LiveCriticSettings",
        "policy_delay": delay,
        "model": {"target": "dtag.critic.bellman.BellmanCritic", "rule": rule, "hidden": [8, 8], **model},
    }


def config(output: Path, name: str = "run", **sections: Any) -> dict[str, Any]:
    made = line_config(
        store_line(),
        output,
        return_model=None,
        policy={"token_order": "rsa", "norm": "pre", "head": "deterministic"},
        eval={"target_return": 10.0},
        **sections,
    )
    return {**made, "losses": LOSSES, "critic": made["critic"] if "critic" in sections else live(), "name": name}


class Watch(Callback):
    """Counts optimiser steps and notes after each batch which networks moved."""

    def __init__(self) -> None:
        self.moved: list[dict[str, bool]] = []
        self.critic_steps = self.policy_gradients_in_critic = 0

    def on_train_start(self, trainer: Any, module: PolicyModule) -> None:
        original = module._critic_step

        def counted(*args: Any) -> Any:
            self.critic_steps += 1
            info = original(*args)
            self.policy_gradients_in_critic += sum(p.grad is not None for p in module.critic.parameters())
            return info

        module._critic_step = counted  # type: ignore[method-assign]
        self.before = self._state(module)

    def on_train_batch_end(self, trainer: Any, module: PolicyModule, *_: Any) -> None:
        after = self._state(module)
        self.moved.append({name: not torch.equal(self.before[name], after[name]) for name in after})
        self.policy_gradients_in_critic += sum(p.grad is not None for p in module.critic.parameters())
        self.before = after

    def _state(self, module: PolicyModule) -> dict[str, torch.Tensor]:
        def flat(tensors: Any) -> torch.Tensor:
            return torch.cat([t.detach().flatten().clone() for t in tensors])

        assert module.target_policy is not None
        return {
            "policy": flat(module.policy.parameters()),
            "critic": flat(module.critic.q_network.parameters()),
            "target policy": flat(module.target_policy.parameters()),
            "target critic": flat(module.critic.target_network.buffers()),
        }


@pytest.mark.parametrize("delay", [1, 2, 3])
def test_the_critic_learns_delay_times_a_step_and_everything_moves_once(tmp_path: Path, delay: int) -> None:
    watch = Watch()
    made = {**config(tmp_path), "critic": live(delay)}
    made["train"] = {**made["train"], "n_steps": 5}
    fit(made, callbacks=[watch])
    assert watch.critic_steps == 5 * delay
    assert watch.moved == [dict.fromkeys(("policy", "critic", "target policy", "target critic"), True)] * 5
    assert watch.policy_gradients_in_critic == 0


@pytest.mark.parametrize("delay", [1, 3])
def test_a_step_is_critic_policy_targets_and_then_the_critic_on_batches_of_its_own(tmp_path: Path, delay: int) -> None:
    """Targets move on the policy's steps alone, which learn from the first batch."""
    order: list[tuple[str, torch.Tensor | None]] = []

    class Order(Callback):
        def on_train_start(self, trainer: Any, module: PolicyModule) -> None:
            for name in ("_critic_step", "_policy_step", "_move_targets"):
                setattr(module, name, self.noting(name, getattr(module, name)))

        def noting(self, name: str, original: Any) -> Any:
            def noted(*args: Any) -> Any:
                order.append((name, args[0].states if args else None))
                return original(*args)

            return noted

    made = {**config(tmp_path), "critic": live(delay)}
    made["train"] = {**made["train"], "n_steps": 4}
    fit(made, callbacks=[Order()])
    step = ["_critic_step", "_policy_step", "_move_targets", *["_critic_step"] * (delay - 1)]
    assert [name for name, _ in order] == step * 4
    for at in range(0, len(order), len(step)):
        (_, first), (_, of_policy), _, *others = order[at : at + len(step)]
        assert first is not None
        assert torch.equal(first, of_policy)
        assert all(batch.shape == first.shape and not torch.equal(batch, first) for _, batch in others)


def test_the_targets_move_by_polyak_towards_their_networks(tmp_path: Path) -> None:
    class Check(Callback):
        def on_train_start(self, trainer: Any, module: PolicyModule) -> None:
            original = module._move_targets

            def checked() -> None:
                assert module.target_policy is not None
                before = [p.clone() for p in module.target_policy.parameters()]
                original()
                moved = zip(before, module.target_policy.parameters(), module.policy.parameters(), strict=True)
                for old, new, online in moved:
                    torch.testing.assert_close(new, old + 0.25 * (online - old))
                self.checked = True

            module._move_targets = checked  # type: ignore[method-assign]

    check = Check()
    fit({**config(tmp_path), "critic": live(polyak=0.25)}, callbacks=[check])
    assert check.checked


def test_its_agent_is_refined_with_the_critic_it_learned_with(tmp_path: Path) -> None:
    result = fit(config(tmp_path))
    assert set(result.summary) == {"AG off", "AG on"}
    assert result.summary["AG on"]["q_gain"]["mean"] > 0
    agent = load_agent(result.agent, trust=True)
    assert agent.critic is not None
    assert agent.action_gradient_rms > 0
    contents = torch.load(result.agent, weights_only=True)
    assert contents["action_gradient_rms"]["min"] > 0


def test_a_stopped_run_resumes_to_the_same_weights(tmp_path: Path) -> None:
    class StopAt(Callback):
        def on_train_batch_end(self, trainer: Any, module: PolicyModule, *_: Any) -> None:
            if module.n_updates == 7:
                os.kill(os.getpid(), signal.SIGTERM)

    whole = fit(config(tmp_path, "whole"))
    with pytest.raises(Stopped):
        fit(config(tmp_path, "stopped"), callbacks=[StopAt()])
    resumed = fit({}, resume=tmp_path / "line" / "stopped")
    expected, found = (torch.load(r.agent, weights_only=True) for r in (whole, resumed))
    for part in ("policy", "critic"):
        for name, value in expected[part].items():
            assert torch.equal(value, found[part][name]), f"{part}.{name}"


SCRIPT = """
import json, sys, torch
from pathlib import Path
from lightning import Callback
from dtag.training.fit import fit

class Same(Callback):
    def on_train_end(self, trainer, module):
        for part in ("policy", "critic", "target_policy"):
            flat = torch.cat([t.detach().flatten() for t in getattr(module, part).state_dict().values()])
            first = flat.clone()
            torch.distributed.broadcast(first, 0)
            assert torch.equal(flat, first), (part, trainer.global_rank)
        Path(f"rank{trainer.global_rank}").touch()

fit(json.loads(Path("config.json").read_text()), callbacks=[Same()])
"""


@pytest.mark.slow
def test_two_processes_end_with_the_same_policy_critic_and_target(tmp_path: Path) -> None:
    made = config(tmp_path)
    made["train"] = {**made["train"], "devices": 2, "strategy": "ddp", "evaluate_every": 0}
    (tmp_path / "config.json").write_text(json.dumps(made))
    (tmp_path / "script.py").write_text(SCRIPT)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    assert {path.name for path in tmp_path.glob("rank*")} == {"rank0", "rank1"}


def test_a_critic_that_is_not_finite_is_named_and_not_the_policy(tmp_path: Path) -> None:
    class Break(Callback):
        def on_train_batch_start(self, trainer: Any, module: PolicyModule, *_: Any) -> None:
            torch.nn.init.constant_(module.critic.q_network.output.bias, torch.nan)

    made = {**config(tmp_path), "losses": {"action": LOSSES["action"]}}
    made["train"] = {**made["train"], "n_steps": 5, "log_every": 2}
    with pytest.raises(
        DtagError, match=r"the critic's loss became nan by step 2; .*lower critic\.model\.learning_rate"
    ):
        fit(made, callbacks=[Break()])


def test_a_critic_with_the_wrong_settings_is_refused_by_name(tmp_path: Path) -> None:
    wrong = live()
    wrong.pop("target")
    wrong.pop("policy_delay")
    with pytest.raises(UsageError, match=r"BellmanCritic learns along.*LiveCriticSettings"):
        fit({**config(tmp_path), "critic": wrong})
    other = {**live(), "model": {"target": "dtag.critic.iql.IQL"}}
    with pytest.raises(UsageError, match=r"IQL is trained before.*CriticSettings"):
        fit({**config(tmp_path, "other"), "critic": other})


def test_it_has_no_stage_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="learns along"):
        fit(config(tmp_path), stage="critic")
