"""An agent as ONNX files, for robots and servers without PyTorch.

NAME.onnx is one step of the agent without refinement (normalisation, return model, context rule, policy, bounds),
NAME.critic.onnx the critic with its gradient, for Action Gradient and for anything else that wants Q. Their inputs and
outputs are described in the files themselves. An episode with both, under rule "none":

    import json
    import numpy as np
    import onnxruntime

    def run_episode(environment, path="policy", seed=0):
        policy, critic = (onnxruntime.InferenceSession(f"{path}{kind}.onnx") for kind in ("", ".critic"))
        about = policy.get_modelmeta().custom_metadata_map
        ag = json.loads(critic.get_modelmeta().custom_metadata_map["action_gradient"])
        low, high = (np.array(json.loads(about[key]), np.float32) for key in ("action_low", "action_high"))
        n_context, n_state = policy.get_inputs()[0].shape[1:]
        states, actions = np.zeros((1, n_context, n_state)), np.zeros((1, n_context, len(low)), np.float32)
        returns = np.zeros((1, n_context))
        state, _ = environment.reset(seed=seed)
        remaining, timestep, done, total = float(about["target_return"]), 0, False, 0.0
        while not done:
            states, actions, returns = (np.roll(history, -1, axis=1) for history in (states, actions, returns))
            states[:, -1], returns[:, -1] = state, remaining
            inputs = {"states": states, "actions": actions, "returns_to_go": returns, "timestep": np.array([timestep])}
            action, returns[:, -1] = policy.run(["action", "return_to_go"], inputs)
            climbed, values = [action], []
            for _ in range(ag["n_steps"] + 1):
                q, slope = critic.run(["q", "dq_da"], {"states": states[:, -1], "actions": climbed[-1]})
                values.append(q[0])
                climbed.append(np.clip(climbed[-1] + np.float32(ag["step"]) * slope, low, high))
            actions[:, -1] = climbed[int(np.argmax(values))]
            state, reward, terminated, truncated, _ = environment.step(actions[0, -1])
            counted = reward * float(about["reward_scale"]) + float(about["reward_shift"])
            remaining, total, timestep = remaining - counted, total + reward, timestep + 1
            done = terminated or truncated
        return total
"""

from __future__ import annotations

import contextlib
import json
import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dtag import __version__
from dtag.errors import DtagError
from dtag.refiners.action_gradient import ActionGradient
from dtag.rollout.agent import Agent
from dtag.training.atomic_file import replaced_when_whole
from dtag.training.onnx_graphs import AgentStep, CriticWithGradient

INSTALL = "pip install -e '.[onnx]'"
TOLERANCE = 1e-4  # of the check, relative to max(1, |value|)

POLICY_TEXT = {
    "states": "raw states of the last K steps, the newest last; anything before the episode's start",
    "actions": "actions executed in these steps, environment units; the newest is not read",
    "returns_to_go": "return_to_go as it was put out at these steps; the newest is read only under a target return",
    "timestep": "index of the newest step in its episode, from 0",
    "action": "the policy's action, environment units, within the bounds",
    "return_to_go": "raw return-to-go of the newest step, predicted or as given: write it into returns_to_go",
    "context_length": "steps that the policy looked at, the newest included",
}
CRITIC_TEXT = {
    "states": "raw states",
    "actions": "actions, environment units",
    "q": "the Q that Action Gradient climbs, in the critic's scaled reward",
    "dq_da": "its gradient in the action",
    "q_members": "every member's Q",
}


@dataclass(frozen=True)
class ExportedAgent:
    """Serialised ONNX models. critic: None where the agent has none with a Q(s, a)."""

    policy: bytes
    critic: bytes | None


def export_agent(agent: Agent) -> ExportedAgent:
    """The agent, on the CPU and in evaluation mode, as ONNX with a dynamic number of rows.

    Raises DtagError when the exporter is not installed or cannot write a part of this agent.
    """
    if agent.condition_dim > 1:
        raise DtagError("a policy that draws latents (PDT) cannot be written as ONNX: its steps are random")
    refiner = agent.refiner or ActionGradient()
    n_context, n_states, n_actions = agent.context.maximum, agent.spec.state_dim, agent.spec.action_dim
    inputs = {
        "states": torch.zeros(3, n_context, n_states, dtype=torch.float64),
        "actions": torch.zeros(3, n_context, n_actions),
        "returns_to_go": torch.zeros(3, n_context, dtype=torch.float64),
        "timestep": torch.arange(3),
    }
    policy = _exported(AgentStep(agent), inputs, POLICY_TEXT, _about(agent))
    if not hasattr(agent.critic, "q_reduced"):
        return ExportedAgent(policy, None)
    pair = {"states": torch.zeros(3, n_states, dtype=torch.float64), "actions": torch.zeros(3, n_actions)}
    settings = {
        "rule": refiner.rule,
        "n_steps": refiner.n_steps if agent.refiner is not None else 0,
        "eta": refiner.eta,
        "eta_unit": refiner.eta_unit,
        "step": refiner.eta * refiner.eta_scale(agent.action_gradient_rms),
        "q": refiner.q,
    }
    about = {**_about(agent), "action_gradient": json.dumps(settings)}
    return ExportedAgent(
        policy, _exported(CriticWithGradient(agent, refiner.q, refiner.kappa), pair, CRITIC_TEXT, about)
    )


def write_agent(exported: ExportedAgent, path: Path) -> list[Path]:
    """Write `path` and, for the critic, NAME.critic.onnx beside it; each is there whole or not at all."""
    critic = path.with_name(f"{path.stem}.critic{path.suffix}")
    written = []
    for target, model in ((path, exported.policy), (critic, exported.critic)):
        if model is not None:
            with replaced_when_whole(target) as temporary:
                temporary.write_bytes(model)
            written.append(target)
    return written


def _about(agent: Agent) -> dict[str, str]:
    """The file's metadata."""
    spec = agent.spec
    predicts = agent.return_model is not None or agent.policy.predicts_return
    return {
        "producer": f"dtag {__version__}",
        "data": spec.info.id,
        "environment": spec.info.environment or "",
        "action_low": json.dumps(spec.action_low),
        "action_high": json.dumps(spec.action_high),
        "context": json.dumps({"rule": agent.context.rule, "maximum": agent.context.maximum}),
        "predicts_return": json.dumps(predicts),
        "target_return": str(0.0 if predicts or agent.target_return is None else agent.target_return),
        "return_scale": str(spec.return_scale),
        "reward_scale": str(spec.reward_scale if spec.shaped_returns else 1.0),  # of what returns-to-go count
        "reward_shift": str(spec.reward_shift if spec.shaped_returns else 0.0),
    }


def _exported(module: nn.Module, inputs: dict[str, Tensor], texts: dict[str, str], about: dict[str, str]) -> bytes:
    try:
        import onnx
        import onnxscript  # noqa: F401 - torch's exporter is written in it
    except ImportError as error:
        raise DtagError(f"exporting needs {error.name}: {INSTALL}") from error
    names = list(texts)
    rows = torch.export.Dim("batch", min=1)
    try:
        # Gradients on: without them the transformer computes in place, by calls that cannot be exported.
        with _quiet(), torch.enable_grad():
            program: Any = torch.onnx.export(
                module.eval().requires_grad_(False),
                tuple(inputs.values()),
                dynamo=True,
                dynamic_shapes=({0: rows},) * len(inputs),
                input_names=names[: len(inputs)],
                output_names=names[len(inputs) :],
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        raise DtagError(f"torch cannot write this agent as ONNX: {_reason(error)}") from error
    model = program.model_proto
    for value in (*model.graph.input, *model.graph.output):
        value.doc_string = texts[value.name]
    model.producer_name, model.producer_version = "dtag", __version__
    onnx.helper.set_model_props(model, about)
    onnx.checker.check_model(model)
    serialized: bytes = model.SerializeToString()
    return serialized


def _reason(error: Exception) -> str:
    """The innermost exception in a line: the exporter's own message is a page on how to report it."""
    while error.__cause__ is not None and isinstance(error.__cause__, Exception):
        error = error.__cause__
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}"


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's notices: about torchvision, which has nothing to do with this, and the axis' name."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
