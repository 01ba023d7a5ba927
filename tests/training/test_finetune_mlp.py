"""Fine-tuning policies without memory, TD3+BC and IQL, from their offline checkpoints by their shipped YAMLs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from dtag.errors import UsageError
from dtag.training.checkpoint import load_agent, read_checkpoint
from dtag.training.finetune import FinetuneResult, finetune
from dtag.training.fit import fit
from dtag.training.resolve_online import resolve_online
from dtag.training.signals import Stopped
from tests.test_methods import tiny
from tests.training.test_finetune import Interrupt, Watch, weights

CONF = Path(__file__).parents[2] / "conf"
METHODS = ["td3_bc", "iql"]
WORDS = [
    "online.n_environment_steps=40", "online.minimum_steps=13", "online.updates_per_round=6",
    "online.replay_trajectories=50", "online.evaluate_every=2", "online.checkpoint_every=1", "eval.episodes=2",
    "eval.rows=4", "eval.block_size=4", "train.log_every=2", "log.tensorboard=false",
]  # fmt: skip


@pytest.fixture(scope="module")
def starts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("offline")
    return {name: fit(tiny(CONF / "methods" / f"{name}.yaml", folder)).agent for name in METHODS}  # type: ignore[misc]


def run(start: Path, method: str, folder: Path, name: str, words: list[str] | None = None, **options: Any) -> Any:
    files = [str(CONF / "online" / f"{part}.yaml") for part in ("hopper", method)]
    overrides = [*WORDS, f"output={folder}", f"name={name}", *(words or [])]
    config = resolve_online(read_checkpoint(start, trust=True), files, overrides)
    model = config["critic"]["model"]
    model.get("model", model)["hidden"] = [8, 8]
    return finetune(start, config, trust=True, **options)


@pytest.mark.parametrize(("method", "moment"), [("td3_bc", (0, 2)), ("iql", (1, -1))])
def test_a_run_stopped_at_any_moment_resumes_to_the_same_weights(
    method: str, moment: Any, starts: dict[str, Path], tmp_path: Path
) -> None:
    whole: FinetuneResult = run(starts[method], method, tmp_path, "whole")
    with pytest.raises(Stopped):
        run(starts[method], method, tmp_path, "cut", callbacks=[Interrupt(*moment)])
    resumed = finetune(None, resume=tmp_path / "online_hopper" / "cut")
    expected, found = weights(whole.agent), weights(resumed.agent)
    assert [name for name in expected if not torch.equal(expected[name], found[name])] == []
    assert resumed.after == whole.after
    assert set(whole.after) == {"AG off", "AG on"}


@pytest.mark.parametrize("method", METHODS)
def test_the_offline_critic_goes_on_and_both_networks_learn(
    method: str, starts: dict[str, Path], tmp_path: Path
) -> None:
    said: list[str] = []
    watch = Watch()
    result = run(starts[method], method, tmp_path, "run", report=said.append, callbacks=[watch])
    assert "critic: the checkpoint's" in said
    delay = 2 if method == "td3_bc" else 1
    assert watch.policy_steps == 6 * len(watch.added)
    assert watch.critic_steps == delay * watch.policy_steps
    before, after = weights(starts[method]), weights(result.agent)
    after = {name.replace("critic.model.", "critic."): value for name, value in after.items()}
    assert before.keys() == after.keys()
    moved = {name.partition(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert moved == {"policy", "critic"}


def test_a_critic_that_meant_something_else_is_refused_and_may_be_begun_anew(
    starts: dict[str, Path], tmp_path: Path
) -> None:
    words = ["critic.model.discount=0.9", "critic.model.layer_norm=true"]
    with pytest.raises(UsageError, match=r"discount 0\.99, here 0\.9 and layer_norm False, here True") as raised:
        run(starts["td3_bc"], "td3_bc", tmp_path, "other", words)
    assert "(critic.model.discount=0.99 critic.model.layer_norm=false)" in str(raised.value)
    with pytest.raises(UsageError, match=r"critic\.model\.model\.discount=0\.99\)"):
        run(starts["iql"], "iql", tmp_path, "other", ["critic.model.model.discount=0.9"])
    said: list[str] = []
    run(starts["td3_bc"], "td3_bc", tmp_path, "new", [*words, "online.keep_critic=false"], report=said.append)
    assert "critic: new, because online.keep_critic is off; its first gradients are noise" in said


def test_the_offline_critics_weights_are_what_learning_starts_from(starts: dict[str, Path], tmp_path: Path) -> None:
    still = ["optimizer.learning_rate=0", "critic.model.model.learning_rate=0"]
    result = run(starts["iql"], "iql", tmp_path, "still", still)
    before, after = weights(starts["iql"]), weights(result.agent)
    for name, value in before.items():
        if "target" not in name:  # targets begin as copies
            assert torch.equal(value, after[name.replace("critic.", "critic.model.", 1)]), name


@pytest.mark.parametrize("method", METHODS)
def test_what_is_collected_explores_and_evaluation_does_not(
    method: str, starts: dict[str, Path], tmp_path: Path
) -> None:
    watch = Watch()
    words = ["online.n_environment_steps=1", "optimizer.learning_rate=0"]
    result = run(starts[method], method, tmp_path, "run", words, callbacks=[watch])
    buffer, agent = watch.collector.buffer, load_agent(result.agent, trust=True)
    slot = watch.collector.n_offline % buffer.capacity
    length = int(buffer.lengths[slot])
    rows = buffer.rows_of(torch.tensor([slot]))[:length]
    inputs = (buffer.states[rows][None], buffer.actions[rows][None])
    mean = agent.policy(*inputs, buffer.returns_to_go[rows, None][None], torch.arange(length)[None]).action  # type: ignore[operator]
    moved = (buffer.actions[rows] - mean[0]).abs()
    assert moved.max() > 1e-3
    assert moved.max() < (0.6 if method == "td3_bc" else 2.1)  # 0.1 of noise; a std near 1 within the bounds
    again = load_agent(result.agent, trust=True)
    for one in (agent, again):
        one.reset()
    assert agent.act([0.3, 0.0]) == again.act([0.3, 0.0])


def test_refinement_while_collecting_moves_an_mlps_actions_too(starts: dict[str, Path], tmp_path: Path) -> None:
    found = []
    for refine in ("false", "true"):
        watch = Watch()
        words = [f"online.refine={refine}", "online.n_environment_steps=1", "online.noise=0", "ag.eta=0.1"]
        run(starts["td3_bc"], "td3_bc", tmp_path, f"refine_{refine}", words, callbacks=[watch])
        buffer = watch.collector.buffer
        found.append(buffer.actions[buffer.rows_of(torch.tensor([watch.collector.n_offline % buffer.capacity]))])
    assert not torch.equal(*found)
