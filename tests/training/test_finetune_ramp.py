"""Paper 2's one-state MDP (Sec. 3.1, Figures 1 and 2), with `dtag finetune` itself: what a critic's gradient is for."""

from __future__ import annotations

from pathlib import Path

import pytest

from dtag.data.toy_datasets import one_state_episodes, ramp_actions, write_npz
from dtag.training.checkpoint import read_checkpoint
from dtag.training.experiment import resolve
from dtag.training.finetune import FinetuneResult, finetune
from dtag.training.fit import fit
from dtag.training.resolve_online import resolve_online

# A Decision Transformer of one layer on one step. The critic learns along while pre-training, as in paper 2.
OFFLINE = [
    "data.context_length=1", "data.batch_size=32", "data.return_scale=1", "data.reward_rule=raw", "data.held_out=0",
    "policy.hidden=16", "policy.n_layers=1", "policy.n_heads=1", "losses.td3.weight=0", "critic.model.learning_rate=1e-3",
    "optimizer.name=adamw", "optimizer.learning_rate=1e-3", "optimizer.warmup_steps=0", "train.n_steps=300",
    "train.evaluate_every=0", "train.accelerator=cpu", "train.threads=1", "ag=null", "eval.target_return=1",
    "eval.episodes=1", "eval.environment=dtag.data.toy_environments:OneState",
    "eval.environment_kwargs={reward: ramp}", "log.tensorboard=false",
]  # fmt: skip
# Every round 64 one-step episodes close to the policy's own action, none forgotten; 1 is the best reward there is.
ONLINE = [
    "online.episodes_per_round=64", "online.environments=64", "online.n_environment_steps=3072", "online.noise=0.01",
    "online.updates_per_round=30", "online.replay_trajectories=3000", "online.target_return=1", "online.evaluate_every=0",
    "online.checkpoint_every=0", "optimizer.name=adamw", "optimizer.learning_rate=1e-3", "optimizer.warmup_steps=0",
    "losses.action.weight=0.02", "context.maximum=1", "ag=null", "eval.target_return=1", "eval.episodes=1",
]  # fmt: skip


def _fine_tuned(agent: Path, folder: Path, name: str, *overrides: str) -> FinetuneResult:
    words = [*ONLINE, f"output={folder}", f"name={name}", *overrides]
    config = resolve_online(read_checkpoint(agent, trust=True), ["online/hopper.yaml"], words)
    return finetune(agent, config, trust=True)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_supervision_alone_stays_where_it_is_and_td3s_gradient_finds_the_optimum(seed: int, tmp_path: Path) -> None:
    data = write_npz(one_state_episodes("ramp", ramp_actions(seed)), tmp_path / "ramp.npz")
    words = [f"data.id={data}", f"output={tmp_path}", f"seed={seed}", "name=offline", *OFFLINE]
    agent = fit(resolve(["methods/dt_td3.yaml"], words)).agent
    assert agent is not None
    odt = _fine_tuned(agent, tmp_path, "odt", "losses.td3=null", "critic=null")
    td3 = _fine_tuned(agent, tmp_path, "td3", "losses.td3.weight=1")
    before, stayed, found = (summary["AG off"]["return"]["mean"] for summary in (odt.before, odt.after, td3.after))
    assert before < 0.1
    assert stayed < 0.1
    assert found > 0.9
