"""Adroit, AntMaze and PointMaze fine-tune from their own YAML: random data, a tiny policy, a few online episodes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning import Callback

from dtag.config.load import load_config
from dtag.data.environment_names import environment_names
from dtag.data.minari_store import save
from dtag.data.random_actions import make_random_dataset
from dtag.errors import UsageError
from dtag.rollout.environments import EnvironmentFactory
from dtag.sweep.plan import plan
from dtag.sweep.sweep_file import read_sweep
from dtag.training.checkpoint import read_checkpoint
from dtag.training.collector import Collector
from dtag.training.experiment import resolve
from dtag.training.finetune import finetune
from dtag.training.fit import fit
from dtag.training.resolve_online import resolve_online

CONF = Path(__file__).parents[1] / "conf"
FAMILIES = {path.stem: path for path in sorted((CONF / "online").glob("*.yaml"))
            if {"data", "experiment"} <= set(load_config([path]))}  # fmt: skip
START = str(CONF / "methods" / "dt_td3.yaml")

# Paper 2's released code: RTG, RTG scale as a divisor, reward divisor, K, T_eval, pre-training steps,
# replay, discount, steps of an episode.
TABLE = {
    "pen": (120, 1, 100, 5, 5, 40_000, 5000, 0.99, 100),
    "hammer": (160, 1, 1000, 5, 1, 40_000, 5000, 0.99, 200),
    "door": (40, 1000, 100, 5, 1, 40_000, 5000, 0.99, 200),
    "relocate": (50, 1, 100, 5, 1, 40_000, 5000, 0.99, 200),
    "antmaze_umaze": (-100, 1000, 1, 1, 1, 200_000, 2000, 0.998, 700),
    "antmaze_medium": (-200, 1000, 1, 1, 1, 200_000, 2000, 0.998, 1000),
    "antmaze_large": (-500, 1000, 1, 5, 1, 200_000, 2000, 0.998, 1000),
    "antmaze_medium_diverse": (-200, 1000, 1, 1, 1, 200_000, 2000, 0.998, 1000),
    "antmaze_large_diverse": (-500, 1000, 1, 5, 1, 200_000, 2000, 0.998, 1000),
    "maze2d_umaze": (60, 1, 1, 1, 1, 40_000, 2500, 0.99, 300),
    "maze2d_medium": (60, 1, 1, 1, 1, 40_000, 5000, 0.99, 600),
    "maze2d_large": (60, 1, 1, 5, 1, 40_000, 5000, 0.99, 800),
}
GOALS = ("achieved_goal", "observation", "desired_goal")
LIMIT = 12
TINY = [
    "data.batch_size=6", "train.n_steps=2", "train.evaluate_every=0", "train.accelerator=cpu", "train.threads=1",
    "eval.episodes=1", "eval.rows=2", "eval.block_size=4", f"eval.max_episode_steps={LIMIT}", "log.tensorboard=false",
    "policy.hidden=8", "policy.n_layers=1", "policy.n_heads=1", "critic.model.hidden=[8,8]",
]  # fmt: skip
TINY_ONLINE = [
    "online.n_environment_steps=30", "online.minimum_steps=30", "online.updates_per_round=2",
    "online.replay_trajectories=9",
]  # fmt: skip


@pytest.mark.parametrize("name", FAMILIES)
def test_a_file_has_paper_2s_settings_for_both_stages(name: str) -> None:
    rtg, scale, divisor, k, t_eval, n_steps, replay, discount, limit = TABLE[name]
    config = resolve([START, str(FAMILIES[name])], ["data.id=any"])
    data, online, critic = config["data"], config["online"], config["critic"]
    assert (config["eval"]["target_return"], online["target_return"]) == (rtg, rtg)
    assert (data["return_scale"], data["reward_divisor"], data["context_length"]) == (scale, divisor, k)
    assert (config["context"]["maximum"], config["context"]["rule"]) == (t_eval, "off")
    assert (config["train"]["n_steps"], online["replay_trajectories"]) == (n_steps, replay)
    assert (online["minimum_steps"], online["truncation_is_terminal"]) == (1000, False)
    assert (critic["model"]["discount"], critic["model"]["learning_rate"]) == (discount, 2e-4)
    assert (critic["policy_delay"], critic["model"]["layer_norm"], critic["model"]["weight_decay"]) == (1, True, 0.01)
    optimizer = config["optimizer"]
    assert (optimizer["learning_rate"], optimizer["weight_decay"], optimizer["warmup_steps"]) == (1e-4, 1e-4, 10_000)
    assert config["losses"]["td3"]["weight"] == 0.1
    assert config["eval"]["max_episode_steps"] == limit
    assert data["shaped_returns"] is not name.startswith("maze2d")
    assert data["reward_rule"] == ("antmaze" if name.startswith("antmaze") else "raw")


def test_the_table_names_every_file() -> None:
    assert set(TABLE) == set(FAMILIES)


@pytest.mark.parametrize("method", ["iql_odt", "awr_odt", "awr", "ppo_odt", "ppo", "recurrent"])
@pytest.mark.parametrize("name", ["antmaze_umaze", "hopper"])
def test_a_method_with_another_critic_keeps_the_environments_settings_of_it(name: str, method: str) -> None:
    folder = FAMILIES["pen"].parent
    config = resolve([START, str(folder / f"{name}.yaml"), str(folder / f"{method}.yaml")], ["data.id=any"])
    model = config["critic"]["model"]
    model = model.get("model", model)
    hopper = name == "hopper"
    assert model["discount"] == (0.99 if hopper else 0.998)
    assert (model["learning_rate"], model["weight_decay"]) == (1e-3 if hopper else 2e-4, 0.01)
    if method != "recurrent":
        assert model.get("layer_norm", False) is not hopper


@pytest.mark.parametrize("name", ["antmaze_umaze", "hopper"])
@pytest.mark.parametrize("method", ["odt", "sac_odt", "iql_odt", "awac_odt", "awr_odt", "awr", "ppo_odt", "ppo"])
def test_a_stochastic_policy_explores_by_its_samples(name: str, method: str) -> None:
    folder = FAMILIES["pen"].parent
    config = resolve([START, str(folder / f"{name}.yaml"), str(folder / f"{method}.yaml")], ["data.id=any"])
    assert config["online"]["exploration"] == "sample"


def test_the_gradients_of_mujoco_are_of_raw_rewards_whatever_they_start_from() -> None:
    rules = {resolve([f"methods/{start}.yaml"], [])["data"]["reward_rule"] for start in ("odt", "dt_td3", "dt_ddpg")}
    assert rules == {"raw"}


@pytest.mark.parametrize("method", ["td3_bc", "iql"])
def test_the_mlps_keep_the_critic_that_they_were_trained_with(method: str) -> None:
    folder = FAMILIES["pen"].parent
    config = resolve([START, str(FAMILIES["antmaze_umaze"]), str(folder / f"{method}.yaml")], ["data.id=any"])
    trained = resolve([str(folder.parent / "methods" / f"{method}.yaml")], [])["critic"]["model"]
    model = config["critic"]["model"]
    model = model.get("model", model)
    for setting, default in {"discount": 0.99, "layer_norm": False, "learning_rate": 3e-4, "weight_decay": 0.0}.items():
        assert model.get(setting, default) == trained.get(setting, default), setting


@pytest.mark.parametrize(
    ("sweep", "scale"), [("mujoco", 1000), ("adroit", 1000), ("antmaze", 1)]
)  # PDT has one recipe, whatever the environment (Xie et al. 2023)
def test_pdt_keeps_its_recipe_in_paper_2s_sweeps(sweep: str, scale: float) -> None:
    file = f"conf/sweep/paper2_{sweep}.yaml"
    others = [name for name in load_config([file])["methods"] if name != "pdt"]
    jobs = plan(read_sweep(file, ["seeds=[0]", *(f"methods.{name}=null" for name in others)]))
    for job in jobs:
        data, optimizer = job.config["data"], job.config["optimizer"]
        assert (data["context_length"], data["return_scale"], job.config["context"]["maximum"]) == (20, scale, 5)
        assert (optimizer["learning_rate"], optimizer["weight_decay"], optimizer["warmup_steps"]) == (
            1e-4,
            5e-4,
            10_000,
        )
        if job.kind == "policy":
            assert job.config["train"]["n_steps"] == 50_000
        else:
            online = job.config["online"]
            assert (online["minimum_steps"], online["replay_trajectories"], online["start_from"]) == (0, 1000, "empty")
    assert {job.kind for job in jobs} == {"policy", "finetune"}


class Watch(Callback):
    """Holds on to the run's collector."""

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self.collector = next(callback for callback in trainer.callbacks if isinstance(callback, Collector))


def random_data(name: str) -> str:
    """A few short random episodes of the file's environment, in the store; their id."""
    section = load_config([FAMILIES[name]])["eval"]
    diverse = name.endswith("diverse")
    made = make_random_dataset(
        section["environment"] if diverse else name.replace("_", "-"),
        n_steps=40,
        seed=0,
        id=f"local/{name.replace('_', '-')}/test-v0",
        kwargs={"max_episode_steps": LIMIT, **(section["environment_kwargs"] if diverse else {})},
        observation_keys=GOALS if diverse else (),
    )
    save(made, overwrite=True)
    return made.info.id


def pretrained(name: str, folder: Path) -> Path:
    own = [f"data.id={random_data(name)}", f"output={folder}", "name=fit", "online=null", *TINY]
    agent = fit(resolve([START, str(FAMILIES[name])], own)).agent
    assert agent is not None
    return agent


@pytest.mark.parametrize("name", ["pen", "antmaze_umaze", "antmaze_medium_diverse", "maze2d_umaze"])
def test_a_family_learns_online_from_what_its_environment_says(name: str, tmp_path: Path) -> None:
    pytest.importorskip("gymnasium_robotics", reason="pip install -e '.[robotics]' to run the families")
    start, watch = pretrained(name, tmp_path), Watch()
    words = [*TINY, *TINY_ONLINE, f"output={tmp_path}", "name=run"]
    config = resolve_online(read_checkpoint(start), [str(FAMILIES[name])], words)
    result = finetune(start, config, callbacks=[watch])  # trusted as it is
    assert result.n_environment_steps >= 30
    assert set(result.after) == {"AG off", "AG on"}
    check_what_was_learnt_from(watch.collector, config)


def check_what_was_learnt_from(collector: Collector, config: dict[str, Any]) -> None:
    """Every online episode in the buffer, step by step, beside the environment replaying its actions."""
    buffer, spec = collector.buffer, collector.buffer.spec
    section = config["eval"]
    factory = EnvironmentFactory(
        section["environment"], section["environment_kwargs"], LIMIT, observation_keys=spec.info.observation_keys
    )
    environment = factory()
    shift = -1.0 if config["data"]["reward_rule"] == "antmaze" else 0.0
    divisor, scale = config["data"]["reward_divisor"], config["data"]["return_scale"]
    assert collector.n_episodes >= 3
    for episode in range(collector.n_episodes):
        slot = (collector.n_offline + episode) % buffer.capacity
        length, learnt, total = int(buffer.lengths[slot]), [], 0.0
        rows = buffer.rows_of(torch.tensor([slot])).tolist()
        state, _ = environment.reset(seed=config["online"]["seed"] + episode)
        for t in range(length):
            np.testing.assert_allclose(buffer.states[rows[t]].numpy(), spec.normalize(state), atol=1e-4)
            state, reward, terminated, truncated, _ = environment.step(buffer.actions[rows[t]].numpy())
            learnt.append((reward + shift) / divisor)
            total += reward
            assert float(buffer.rewards[rows[t]]) == pytest.approx(learnt[-1], rel=1e-5, abs=1e-6)
            assert bool(buffer.terminated[rows[t]]) == terminated
            assert (terminated or truncated) == (t == length - 1)
        np.testing.assert_allclose(buffer.states[rows[length]].numpy(), spec.normalize(state), atol=1e-4)
        counted = sum(learnt) if config["data"]["shaped_returns"] else total
        assert float(buffer.returns_to_go[rows[0]]) == pytest.approx(counted / scale, rel=1e-4, abs=1e-6)
        assert float(buffer.returns()[slot]) == pytest.approx(total, rel=1e-3, abs=1e-3)
        last = torch.tensor([slot]), torch.tensor([length - 1])
        following = buffer.gather(*last).following
        assert following is not None
        assert bool(following.known[0, 0])
        assert bool(following.terminated[0, 0]) == terminated  # a time limit bootstraps


def test_a_checkpoint_of_other_scales_is_refused_with_both_values() -> None:
    path = str(FAMILIES["maze2d_umaze"])
    trained = resolve([START, path], ["data.id=any", "data.return_scale=7", "data.context_length=3", "online=null"])
    with pytest.raises(UsageError, match=r"data.return_scale is 7.0 there, 1.0 here\. Train"):
        resolve_online({"config": trained}, [path], [])
    assert resolve_online({"config": trained}, [path], ["data.return_scale=7"])["data"]["context_length"] == 1


def test_every_family_of_d4rl_has_a_file_for_each_of_its_environments() -> None:
    sparse = {name.replace("-", "_") for name in environment_names() if not name.endswith("-dense")}
    assert sparse <= set(FAMILIES)
