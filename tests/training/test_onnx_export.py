"""What `dtag export` writes, run by onnxruntime, against the agent itself."""

from __future__ import annotations

import builtins
import inspect
import json
import textwrap
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dtag.cli.main import main
from dtag.critic.ensemble import CriticEnsemble
from dtag.critic.iql import IQL
from dtag.policy.mlp_policy import MLPPolicy
from dtag.policy.value_return import ValueReturn
from dtag.rollout.agent import Agent, ContextSettings
from dtag.rollout.environments import EnvironmentFactory, InProcess
from dtag.rollout.episodes import EpisodePlan, rollout
from dtag.training import onnx_export
from dtag.training.onnx_check import compare
from dtag.training.onnx_export import ExportedAgent, export_agent, write_agent
from tests.reference.toy_environment import LINE, A, S, random_agent

MISSING = "needs the ONNX exporter and onnxruntime; to run it: pip install -e '.[onnx]'"
for module in ("onnx", "onnxscript", "onnxruntime"):
    pytest.importorskip(module, reason=MISSING)

SMALL = {"hidden": 8, "context": ContextSettings("chain", 4)}


def _agent(kind: str) -> Agent:
    if kind == "mlp":
        base = random_agent(critic=False, **SMALL)
        policy = MLPPolicy(S, (-2.0,) * A, (0.5,) * A, hidden=8, head="squashed").eval().requires_grad_(False)
        spec = replace(base.spec, action_low=(-2.0,), action_high=(0.5,))
        return Agent(policy, spec, context=ContextSettings("off", 1))
    agent = random_agent(kind="dt" if kind == "adt" else kind, **SMALL)
    if kind == "one network":
        members = {name: IQL(S, A, hidden=(8,), layer_norm=True) for name in ("a", "b")}
        agent.critic = CriticEnsemble(members).eval().requires_grad_(False)
    if kind == "adt":
        agent.return_model = ValueReturn(scale=10.0)
        agent.return_model.attach(agent.critic)
    return agent


@pytest.fixture(scope="module")
def two_networks() -> tuple[Agent, ExportedAgent]:
    agent = random_agent(**SMALL)
    return agent, export_agent(agent)


@pytest.mark.parametrize(
    "kind", ["mlp", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("one network", "dt", "adt"))]
)
def test_the_files_say_what_the_agent_says(kind: str) -> None:
    agent = _agent(kind)
    exported = export_agent(agent)
    differences = compare(agent, exported, n_rows=5)
    names = {"action", "return_to_go"} | ({"q", "dq_da", "q_members"} if agent.critic is not None else set())
    assert set(differences.largest) == names
    assert differences.worst < 1e-5
    assert (exported.critic is None) == (agent.critic is None)


def test_reinformer_of_two_networks_agrees_and_a_changed_weight_is_noticed(
    two_networks: tuple[Agent, ExportedAgent],
) -> None:
    agent, exported = two_networks
    assert compare(agent, exported).worst < 1e-5
    other = random_agent(**SMALL)
    critic: Any = other.critic
    networks = ((other.policy, "action"), (other.return_model, "return_to_go"), (critic.q_network, "q"))
    for network, name in networks:
        parameters = list(network.parameters())  # type: ignore[union-attr]
        before = parameters[-1].clone()
        parameters[-1] += 0.01
        assert compare(other, exported).largest[name] > 1e-4
        parameters[-1].copy_(before)


def test_the_documented_loop_earns_what_the_agent_earns(
    two_networks: tuple[Agent, ExportedAgent], tmp_path: Path
) -> None:
    agent, exported = two_networks
    write_agent(exported, tmp_path / "policy.onnx")
    source = textwrap.dedent(inspect.cleandoc(onnx_export.__doc__ or "").partition('rule "none":\n\n')[2])
    names: dict[str, Any] = {}
    exec(source, names)
    factory = EnvironmentFactory(LINE)
    for seed in (1, 2):
        (row,) = rollout(agent, InProcess(factory, 1), [EpisodePlan(seed, agent.default_settings, "")])
        assert names["run_episode"](factory(), str(tmp_path / "policy"), seed) == pytest.approx(row.return_, abs=1e-3)
        (off,) = rollout(
            agent, InProcess(factory, 1), [EpisodePlan(seed, replace(agent.default_settings, n_steps=0), "")]
        )
        assert off.return_ != pytest.approx(row.return_, abs=1e-2)  # so that the refinement was seen


def test_the_files_say_what_goes_in_and_out(two_networks: tuple[Agent, ExportedAgent]) -> None:
    import onnx

    agent, exported = two_networks
    policy, critic = (onnx.load_from_string(model or b"") for model in (exported.policy, exported.critic))
    for model in (policy, critic):
        assert all(value.doc_string for value in (*model.graph.input, *model.graph.output))
    about = {entry.key: entry.value for entry in critic.metadata_props}
    assert json.loads(about["action_low"]) == [-1.0]
    assert json.loads(about["context"]) == {"rule": "chain", "maximum": 4}
    assert json.loads(about["action_gradient"])["step"] == agent.refiner.eta  # type: ignore[union-attr]


def test_a_file_that_differs_from_the_agent_is_not_left_behind(
    two_networks: tuple[Agent, ExportedAgent],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    agent, exported = two_networks
    monkeypatch.setattr("dtag.training.checkpoint.load_agent", lambda *_, **__: agent)
    monkeypatch.setattr("dtag.training.onnx_export.export_agent", lambda _: exported)
    words = ["export", "--ckpt", "agent.ckpt", "--onnx", str(tmp_path / "policy.onnx")]
    assert main(words) == 0
    assert "largest difference: action" in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["policy.critic.onnx", "policy.onnx"]
    other = random_agent(seed=1, **SMALL)
    monkeypatch.setattr("dtag.training.checkpoint.load_agent", lambda *_, **__: other)
    assert main([*words[:-1], str(tmp_path / "wrong.onnx")]) == 1
    assert "differs from the agent" in capsys.readouterr().err
    assert not list(tmp_path.glob("*wrong*"))


def test_a_missing_library_is_named_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "onnx":
            raise ImportError("No module named 'onnx'", name="onnx")
        return real(name, *args, **kwargs)

    monkeypatch.setattr("dtag.training.checkpoint.load_agent", lambda *_, **__: random_agent(**SMALL))
    monkeypatch.setattr(builtins, "__import__", without)
    assert main(["export", "--ckpt", "x", "--onnx", str(tmp_path / "policy.onnx")]) == 1
    assert "needs onnx: pip install -e '.[onnx]'" in capsys.readouterr().err
    assert main(["export", "--ckpt", "x", "--onnx", str(tmp_path / "policy.pt")]) == 2


def test_exporting_changes_nothing_about_the_agent(two_networks: tuple[Agent, ExportedAgent]) -> None:
    agent, fresh = two_networks[0], random_agent(**SMALL)
    state = np.array([0.2, -0.4])
    agent.reset()
    with torch.no_grad():
        assert np.array_equal(agent.act(state), fresh.act(state))
