"""Every shipped method trains, is evaluated, and can be loaded again, from its own YAML."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from dtag.errors import UsageError
from dtag.policy.sequence_model import SequenceModel
from dtag.training.checkpoint import load_agent, read_checkpoint
from dtag.training.experiment import build_critic, build_networks, resolve
from dtag.training.fit import fit
from tests.reference.toy_environment import random_agent, store_line

CONF = Path(__file__).parents[1] / "conf" / "methods"
METHODS = sorted(CONF.glob("*.yaml"))
TINY = [
    "data.context_length=3", "data.batch_size=6", "data.return_scale=10", "data.reward_rule=raw",
    "context.maximum=3", "train.accelerator=cpu", "train.threads=1", "train.n_steps=4", "train.evaluate_every=4",
    "eval.episodes=2", "eval.rows=4", "eval.block_size=4", "log.tensorboard=false", "name=run",
]  # fmt: skip
NO_REFINEMENT = {"odt", "cgdt", "pdt", "bc", "bc_10"}  # no critic, or one without a Q(s, a)


def tiny(path: Path, output: Path, **keys: Any) -> dict[str, Any]:
    """The method's config at a size of seconds."""
    words = [f"data.id={store_line()}", f"output={output}", *TINY, *(f"{k}={v}" for k, v in keys.items())]
    config = resolve([str(path)], words)
    mlp = config["policy"]["target"].endswith("MLPPolicy")
    sizes = {"hidden": 8, "n_layers": 1} if mlp else {"hidden": 8, "n_layers": 1, "n_heads": 1}
    config["policy"].update(sizes)
    if mlp:
        config["data"]["context_length"] = config["context"]["maximum"] = 1
    if config["return_model"] is not None and "hidden" in config["return_model"]:
        config["return_model"].update(sizes)
    if config["critic"] is not None:
        model = config["critic"]["model"]
        model.update(sizes if "n_heads" in model else {"hidden": [8, 8]})
        if "n_steps" in config["critic"]:
            config["critic"].update(n_steps=4, updates_per_step=2, batch_size=6)
    return config


@pytest.mark.parametrize("path", METHODS, ids=lambda path: path.stem)
def test_a_method_trains_and_is_scored_from_its_yaml(path: Path, tmp_path: Path) -> None:
    result = fit(tiny(path, tmp_path))
    labels = {label.partition(",")[0] for label in result.summary}  # "AG off, R=1800" is a second target return
    assert labels == {"AG off"} | (set() if path.stem in NO_REFINEMENT else {"AG on"})
    assert result.agent is not None
    agent = load_agent(result.agent, trust=True)
    agent.reset()
    assert agent.act([0.5, 0.0]).shape == (1,)


@pytest.mark.parametrize("path", METHODS, ids=lambda path: path.stem)
def test_no_methods_tokens_hide_how_large_a_return_is(path: Path, tmp_path: Path) -> None:
    """What the first norm would do behind biases of 0, which LAMB hardly moves; see SequenceModel."""
    config, spec = tiny(path, tmp_path), random_agent().spec
    networks = [*build_networks(config, spec)]
    if config["critic"] is not None:
        networks.append(build_critic(config, spec).model)  # type: ignore[union-attr]
    models = [part for network in networks if network is not None for part in network.modules()
              if isinstance(part, SequenceModel)]  # fmt: skip
    assert not any(model.hides_scale for model in models)
    assert bool(models) == (config["policy"]["target"] != "dtag.policy.mlp_policy.MLPPolicy")


def test_a_policy_whose_tokens_would_hide_it_is_not_trained(tmp_path: Path) -> None:
    config = tiny(CONF / "odt.yaml", tmp_path)
    config["policy"]["init"] = "normal"
    with pytest.raises(UsageError, match=r"policy: init=normal without a time embedding hides.*set policy\.init=gpt2"):
        fit(config)
    assert not list(tmp_path.iterdir())


def test_pdt_without_the_steps_behind_its_segments_is_not_trained(tmp_path: Path) -> None:
    config = tiny(CONF / "pdt.yaml", tmp_path)
    config["data"]["future_steps"] = 0
    with pytest.raises(UsageError, match=r"set data\.future_steps"):
        fit(config)
    assert not list(tmp_path.iterdir())


def test_cgdt_imitates_by_likelihood_too(tmp_path: Path) -> None:
    made = tiny(CONF / "cgdt.yaml", tmp_path)
    made["losses"]["guided"]["action"] = {"target": "dtag.losses.action_nll.ActionNLL", "learning_rate": 0.01}
    terms = read_checkpoint(fit(made).agent, trust=True)["terms"]  # type: ignore[arg-type]
    assert terms["guided.action.bonus.log_temperature"].item() != pytest.approx(math.log(0.1), abs=1e-3)


# Authors' codes and CORL, as METHODS lists them: optimiser, learning rate, weight decay, warm-up, clip; batch, K, T_eval,
# rewards; policy steps.
TRANSFORMER, MLP = ("lamb", 1e-4, 5e-4, 10_000, 0.25), ("adamw", 3e-4, 0.0, 0, 0.0)
DT, REINFORMER = ("adamw", 1e-4, 1e-4, 10_000, 0.25), ("lamb", 1e-4, 1e-4, 5_000, 0.25)
SCALED = "locomotion"
TABLE = {
    "adt": (("adamw", 8e-4, *DT[2:]), (64, 20, 20, SCALED), 100_000),  # CORL's batch is 4096
    "awac": (MLP, (256, 1, 1, "raw"), 1_000_000),  # as lambda
    "bc": (MLP, (256, 1, 1, SCALED), 1_000_000),
    "bc_10": (MLP, (256, 1, 1, SCALED), 1_000_000),
    "cgdt": (TRANSFORMER, (256, 20, 5, SCALED), 80_000),
    "cql": (("adamw", 3e-5, *MLP[2:]), (256, 1, 1, SCALED), 1_000_000),
    "dt": (DT, (64, 20, 20, SCALED), 100_000),
    "dt_ddpg": (TRANSFORMER, (256, 20, 5, "raw"), 5_000),  # alpha is of raw rewards
    "dt_td3": (TRANSFORMER, (256, 20, 5, "raw"), 5_000),
    "iql": (MLP, (256, 1, 1, SCALED), 1_000_000),
    "naive_bellman": (DT, (64, 20, 20, SCALED), 100_000),
    "odt": (TRANSFORMER, (256, 20, 5, "raw"), 5_000),
    "pdt": (TRANSFORMER, (256, 20, 5, SCALED), 50_000),
    "rf": (REINFORMER, (128, 20, 20, SCALED), 50_000),
    "rf_awac": (REINFORMER, (128, 20, 20, SCALED), 50_000),
    "rf_pg": (REINFORMER, (128, 20, 20, SCALED), 50_000),
    "td3_bc": (MLP, (256, 1, 1, SCALED), 500_000),  # a delay of 2
}
TERMS = {
    "awac": ("action", {"max_weight": 100, "action": "sample", "temperature": pytest.approx(1 / 3, rel=1e-2)}),
    "adt": ("action", {"beta": 3.0, "max_weight": 100, "distance": "mse", "denominator": "all"}),
    "cql": ("entropy", {"learning_rate": 3e-5, "temperature": 1.0}),
    "cgdt": ("guided", {"coefficient": 0.1, "warmup": 0, "start": 0, "masked": True}),
    "dt_ddpg": ("ddpg", {"weight": 0.1, "q": "q1", "normalize": False}),
    "dt_td3": ("td3", {"weight": 0.1, "q": "q1", "normalize": False}),
    "iql": ("action", {"beta": 3.0, "max_weight": 100, "q": "target_min"}),
    "odt": ("action", {"temperature": 0.1, "learning_rate": 1e-4, "target_entropy": None}),
    "rf": ("return", {"expectile": 0.99}),
    "rf_awac": ("action", {"max_weight": 100, "action": "mean", "temperature": pytest.approx(1 / 3, rel=1e-2)}),
    "rf_pg": ("pg", {"weight": 1.0, "normalize": True}),
    "td3_bc": ("td3", {"weight": 2.5, "q": "q1", "normalize": True}),
}
CRITICS = {
    "cql": {"hidden": [256, 256, 256], "learning_rate": 3e-4, "penalty": {"alpha": 10.0, "n_actions": 10}},
    "dt_ddpg": {"n_q": 1, "learning_rate": 1e-3, "weight_decay": 0.01, "rule": {"noise": 0.0}},
    "dt_td3": {"n_q": 2, "learning_rate": 1e-3, "weight_decay": 0.01, "rule": {"noise": 0.2, "noise_clip": 0.5}},
    "rf": {"expectile": 0.7, "learning_rate": 3e-4, "n_q": 2},
    "td3_bc": {"learning_rate": 3e-4, "rule": {"noise": 0.2, "noise_clip": 0.5}},
}


@pytest.mark.parametrize("path", METHODS, ids=lambda path: path.stem)
def test_a_method_has_its_authors_settings(path: Path) -> None:
    config, name = resolve([str(path)], ["data.id=any"]), path.stem
    optimizer, data = config["optimizer"], config["data"]
    keys = ("name", "learning_rate", "weight_decay", "warmup_steps", "gradient_clip")
    found = tuple(optimizer[key] for key in keys)
    shape = (data["batch_size"], data["context_length"], config["context"]["maximum"], data["reward_rule"])
    assert (found, shape, config["train"]["n_steps"]) == TABLE[name]
    term, settings = TERMS.get(name, (None, {}))
    assert {key: config["losses"][term][key] for key in settings} == settings
    model = (config["critic"] or {}).get("model")
    if model is not None and name != "cgdt":
        assert (model["discount"], model["polyak"], model["layer_norm"]) == (0.99, 0.005, False)
    for key, value in CRITICS.get(name, {}).items():
        whole = isinstance(value, dict)
        assert ({inner: model[key][inner] for inner in value} if whole else model[key]) == value, key


@pytest.mark.parametrize("path", METHODS, ids=lambda path: path.stem)
def test_a_method_says_what_it_is_in_its_first_line(path: Path) -> None:
    first = path.read_text().splitlines()[0]
    name, dot, source = first.removeprefix("# ").partition(" · ")
    assert first.startswith("# ")
    assert dot and name and source.startswith("paper")  # noqa: PT018
    assert resolve([str(path)], [])["experiment"] == path.stem


def test_rf_and_its_training_time_relatives_share_one_critic(tmp_path: Path) -> None:
    paths = {path.stem: path for path in METHODS}
    first = fit(tiny(paths["rf"], tmp_path))
    own = torch.load(first.critic, weights_only=True)["critic"]
    for name in ("rf_pg", "rf_awac", "dt", "iql", "adt"):
        config = tiny(paths[name], tmp_path)
        config["critic"]["ckpt"] = str(first.critic)
        shared = torch.load(fit(config).agent, weights_only=True)["critic"]
        assert all(torch.equal(own[key], shared[key]) for key in own), name
