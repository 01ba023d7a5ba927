from __future__ import annotations

import io
from typing import Any, Literal

import pytest
import torch

from dtag.config.load import load_config, to_yaml
from dtag.config.schema import Component, Components, Schema, Value, check
from dtag.errors import UsageError

PARTS = "tests.config.example_parts"
SCHEMA: Schema = {
    "seed": Value(int, 0, "The seed of everything."),
    "device": Value(Literal["cpu", "gpu"] | None, None),
    "policy": Component(f"{PARTS}.Policy", supplied=frozenset({"state_dim", "action_dim"}), optional=False),
    "ag": Component(f"{PARTS}.Refiner"),
    "losses": Components(supplied=frozenset({"action_dim"})),
}


def message(config: dict[str, Any], schema: Schema = SCHEMA) -> str:
    with pytest.raises(UsageError) as raised:
        check(config, schema)
    return str(raised.value)


def mistake(config: dict[str, Any]) -> str:
    title, line = message(config).split("\n")
    assert title == "1 mistake in the config:"
    return line.strip()


FULL = {
    "policy": {
        "head": {"target": f"{PARTS}.GaussianHead"},
        "heads": {"a": {"target": f"{PARTS}.GaussianHead", "std": 2}},
        "bounds": [-1, 1],
        "layers": [[1, 2], [3, 4]],
        "names": ["x"],
        "options": {"target": "just a name", "deep": [1, {"b": None}]},
        "folder": "some/where",
    },
    "ag": {"eta": 1},
    "losses": {"pg": {"target": f"{PARTS}.PolicyGradient", "weight": 0.5}, "nll": None},
}


def test_defaults_are_written_out_in_signature_order():
    resolved = check({"ag": {"rule": "chain", "eta": 0.1}, "losses": {}}, SCHEMA)
    assert resolved == {
        "seed": 0,
        "device": None,
        "policy": {
            "target": f"{PARTS}.Policy",
            "head": None,
            "heads": {},
            "sizes": [64, 64],
            "bounds": None,
            "layers": [],
            "names": [],
            "options": {},
            "folder": None,
            "name": "mlp",
            "dropout": None,
            "strange": None,
        },
        "ag": {"target": f"{PARTS}.Refiner", "eta": 0.1, "n_steps": 10, "clip": "none", "rule": "chain"},
        "losses": {},
    }
    assert list(resolved["ag"]) == ["target", "eta", "n_steps", "clip", "rule"]
    assert list(resolved) == list(SCHEMA)


def test_an_optional_section_is_null_when_absent_and_null_stays():
    assert check({}, SCHEMA)["ag"] is None
    assert check({"ag": None, "policy": None}, SCHEMA) == check({}, SCHEMA)


def test_null_entries_are_dropped_and_nested_components_resolved():
    resolved = check(FULL, SCHEMA)
    assert resolved["losses"] == {"pg": {"target": f"{PARTS}.PolicyGradient", "weight": 0.5}}
    assert resolved["policy"]["head"] == {"target": f"{PARTS}.GaussianHead", "std": 1.0}
    assert resolved["policy"]["heads"]["a"]["std"] == 2.0
    assert resolved["policy"]["options"] == FULL["policy"]["options"]


def test_checking_a_resolved_config_changes_nothing():
    resolved = check(FULL, SCHEMA)
    again = check(resolved, SCHEMA)
    assert repr(again) == repr(resolved)  # repr: 1 is not 1.0


def test_yaml_of_a_resolved_config_reads_back_identically(tmp_path):
    resolved = check(FULL, SCHEMA)
    file = tmp_path / "resolved.yaml"
    file.write_text(to_yaml(resolved))
    assert repr(load_config([file], [])) == repr(resolved)
    assert repr(check(load_config([file], []), SCHEMA)) == repr(resolved)


def test_a_resolved_config_loads_with_weights_only():
    resolved = check(FULL, SCHEMA)
    file = io.BytesIO()
    torch.save(resolved, file)
    file.seek(0)
    assert torch.load(file, weights_only=True) == resolved


def test_a_function_with_keyword_arguments_accepts_any_name():
    section = {"target": f"{PARTS}.make_open", "colour": "red", "inner": {"target": f"{PARTS}.PolicyGradient"}}
    resolved = check({"losses": {"a": section}}, SCHEMA)["losses"]["a"]
    assert resolved == {**section, "weight": 1.0, "inner": {"target": f"{PARTS}.PolicyGradient", "weight": 1.0}}


REFINER_LINES = [
    ({"ag": {"eta": "0.1"}}, 'ag.eta: found "0.1", expected a number (write it without quotes)'),
    ({"ag": {"eta": "inf"}}, 'ag.eta: found "inf", expected a number (write .inf, -.inf or .nan)'),
    ({"ag": {"eta": True}}, "ag.eta: found true, expected a number"),
    ({"ag": {"eta": None}}, "ag.eta: found null, expected a number"),
    ({"ag": {"eta": 1, "n_steps": True}}, "ag.n_steps: found true, expected a whole number"),
    ({"ag": {"eta": 1, "n_steps": 1.5}}, "ag.n_steps: found 1.5, expected a whole number"),
    (
        {"ag": {"eta": 1, "rule": "chian"}},
        'ag.rule: found "chian", expected one of "off", "chain", "anchor"; did you mean \'chain\'?',
    ),
    (
        {"ag": {"eta": 1, "rule": True}},
        'ag.rule: found true, expected one of "off", "chain", "anchor"'
        " (YAML reads on, off, yes and no as true and false: put text in quotes)",
    ),
    (
        {"ag": {"eta": 1, "clip": "nrm"}},
        'ag.clip: found "nrm", expected one of "none", "norm" or a number; did you mean \'norm\'?',
    ),
    ({"ag": {}}, "ag.eta: required: a number"),
    ({"ag": {"eta": 1, "n_step": 3}}, "ag.n_step: unknown key; did you mean 'ag.n_steps'?"),
    ({"ag": {"eta": 1, "zzz": 3}}, "ag.zzz: unknown key (known here: eta, n_steps, clip, rule)"),
    ({"ag": 3}, "ag: found 3, expected a component: a mapping of its parameters"),
    ({"eta": 1}, "eta: unknown key; did you mean 'ag.eta'?"),
    ({"agg": {"eta": 1}}, "agg: unknown key; did you mean 'ag'?"),
    ({"policy": {"eta": 1}}, "policy.eta: unknown key; did you mean 'ag.eta'?"),
]
OTHER_LINES = [
    ({"policy": {"n_step": 1}}, "policy.n_step: unknown key; did you mean 'ag.n_steps'?"),
    (
        {"losses": {"a": {"target": f"{PARTS}.untyped", "eta": 1}}},
        "losses.a.eta: unknown key; did you mean 'losses.a.betas' or 'ag.eta'?",
    ),
    ({"seed": "x"}, 'seed: found "x", expected a whole number'),
    ({"device": "cpuu"}, 'device: found "cpuu", expected one of "cpu", "gpu"; did you mean \'cpu\'?'),
    ({"policy": {"state_dim": 3}}, "policy.state_dim: is set by the program; remove it"),
    ({"policy": {"sizes": 3}}, "policy.sizes: found 3, expected a list (a whole number each)"),
    ({"policy": {"sizes": [3, "a"]}}, 'policy.sizes.1: found "a", expected a whole number'),
    ({"policy": {"bounds": [1]}}, "policy.bounds: found [1], expected a list of 2 (a number, a number)"),
    ({"policy": {"options": 3}}, "policy.options: found 3, expected a mapping"),
    ({"policy": {"name": 3}}, "policy.name: found 3, expected text (put it in quotes)"),
    (
        {"policy": {"name": False}},
        "policy.name: found false, expected text"
        " (YAML reads on, off, yes and no as true and false: put text in quotes)",
    ),
    (
        {"policy": {"head": {"std": 1}}},
        'policy.head: found {"std": 1}, expected a component (Head) (an object is a mapping with `target`)',
    ),
    (
        {"policy": {"head": {"target": f"{PARTS}.GaussianHead", "sdt": 1}}},
        "policy.head.sdt: unknown key; did you mean 'policy.head.std'?",
    ),
    (
        {"policy": {"heads": {"a": {"target": f"{PARTS}.GaussianHead", "std": "x"}}}},
        'policy.heads.a.std: found "x", expected a number',
    ),
    ({"losses": [1]}, "losses: found [1], expected a mapping from names to components"),
    (
        {"losses": {"pg": {"weight": 1}}},
        "losses.pg.target: required: the import path of a class, like 'package.module.Class'",
    ),
    (
        {"losses": {"pg": {"target": 3}}},
        "losses.pg.target: found 3, expected an import path like 'package.module.Class'",
    ),
    (
        {"losses": {"pg": {"target": f"{PARTS}.PolicyGradent"}}},
        f"losses.pg.target: there is no 'PolicyGradent' in '{PARTS}'; did you mean"
        f" '{PARTS}.PolicyGradient' or '{PARTS}.Policy'?",
    ),
    (
        {"losses": {"pg": {"target": f"{PARTS}.PolicyGradient", "action_dim": 1}}},
        "losses.pg.action_dim: is set by the program; remove it",
    ),
]


@pytest.mark.parametrize(("config", "line"), REFINER_LINES + OTHER_LINES)
def test_each_mistake_has_its_line(config, line):
    assert mistake(config) == line


def test_a_required_root_value_is_reported():
    assert "data: required: text" in message({}, {"data": Value(str)})


def test_all_mistakes_are_reported_at_once():
    config = {
        "sed": 1,
        "seed": 1.5,
        "policy": {"state_dim": 3, "sizes": ["a"], "head": {"target": f"{PARTS}.GaussianHed"}},
        "ag": {"etaa": 0.1, "rule": "chian", "clip": None},
        "losses": {"pg": {"target": f"{PARTS}.PolicyGradient", "wieght": 1}, "nll": 3},
    }
    assert message(config) == "\n  ".join(
        [
            "11 mistakes in the config:",
            "seed: found 1.5, expected a whole number",
            f"policy.head.target: there is no 'GaussianHed' in '{PARTS}'; did you mean '{PARTS}.GaussianHead'?",
            'policy.sizes.0: found "a", expected a whole number',
            "policy.state_dim: is set by the program; remove it",
            "ag.eta: required: a number",
            'ag.clip: found null, expected one of "none", "norm" or a number',
            'ag.rule: found "chian", expected one of "off", "chain", "anchor"; did you mean \'chain\'?',
            "ag.etaa: unknown key; did you mean 'ag.eta'?",
            "losses.pg.wieght: unknown key; did you mean 'losses.pg.weight'?",
            "losses.nll: found 3, expected a component: a mapping of its parameters",
            "sed: unknown key; did you mean 'seed'?",
        ]
    )


def test_words_that_yaml_reads_as_booleans_fit_a_literal_that_lists_them():
    section = check(load_config([], ["ag.rule=off", "ag.eta=1e-4", "ag.clip=none"]), SCHEMA)["ag"]
    assert (section["rule"], section["eta"], section["clip"]) == ("off", 0.0001, "none")
    assert check({"x": True}, {"x": Value(Literal["on", "yes"])}) == {"x": "on"}
    assert check({"x": False}, {"x": Value(bool | Literal["off"])}) == {"x": False}


@pytest.mark.parametrize(("value", "expected"), [(2, 2.0), (2.5, 2.5), ("norm", "norm")])
def test_a_union_takes_each_of_its_members(value, expected):
    clip = check({"ag": {"eta": 1, "clip": value}}, SCHEMA)["ag"]["clip"]
    assert clip == expected
    assert type(clip) is type(expected)


def test_numbers_become_the_annotated_kind():
    section = check({"ag": {"eta": 1, "n_steps": 1e3}}, SCHEMA)["ag"]
    assert (repr(section["eta"]), repr(section["n_steps"])) == ("1.0", "1000")
