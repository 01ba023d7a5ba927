from __future__ import annotations

import sys
from pathlib import Path

import pytest

from dtag.config.build import build, import_target, modules_named, targets_named
from dtag.errors import UsageError
from tests.config.example_parts import GaussianHead, Policy, PolicyGradient, Refiner

PARTS = "tests.config.example_parts"


def test_supplied_arguments_reach_those_who_name_them_nested_ones_too():
    section = {
        "target": f"{PARTS}.Policy",
        "head": {"target": f"{PARTS}.GaussianHead", "std": 2},
        "heads": {"a": {"target": f"{PARTS}.GaussianHead"}},
    }
    policy = build(section, state_dim=3, action_dim=2, device="cpu")
    assert isinstance(policy, Policy)
    assert (policy.state_dim, policy.action_dim) == (3, 2)
    assert isinstance(policy.head, GaussianHead)
    assert (policy.head.action_dim, policy.head.std, policy.heads["a"].action_dim) == (2, 2.0, 2)
    assert isinstance(build({"target": f"{PARTS}.PolicyGradient"}, action_dim=2), PolicyGradient)


def test_lists_become_tuples_and_texts_paths_where_the_annotation_says_so():
    section = {
        "target": f"{PARTS}.Policy", "sizes": [1, 2], "bounds": [0, 1], "layers": [[1, 2]], "names": ["a"],
        "options": {"a": [1]}, "folder": "x",
    }  # fmt: skip
    policy = build(section, state_dim=1, action_dim=1)
    assert (policy.sizes, policy.bounds, policy.layers) == ((1, 2), (0.0, 1.0), [(1, 2)])
    assert (policy.names, policy.options, policy.folder) == (["a"], {"a": [1]}, Path("x"))
    assert build({"target": f"{PARTS}.untyped", "betas": [1, 2]}) == ((1, 2), None)


def test_free_form_mappings_are_passed_on_untouched():
    options = {"target": f"{PARTS}.PolicyGradient", "a": [{"target": "b.c"}], "b": {"target": "b.c"}}
    policy = build({"target": f"{PARTS}.Policy", "options": options}, state_dim=1, action_dim=1)
    assert policy.options == options


def test_keyword_arguments_are_passed_on_and_objects_in_them_built():
    built = build({"target": f"{PARTS}.make_open", "a": 1, "b": {"target": f"{PARTS}.PolicyGradient"}}, unwanted=3)
    assert (built["a"], type(built["b"]), "unwanted" in built) == (1, PolicyGradient, False)


def test_a_constructor_that_refuses_its_values_is_a_usage_error():
    with pytest.raises(UsageError, match=f"^{PARTS}.Refiner: eta must not be negative, got -1.0$"):
        build({"target": f"{PARTS}.Refiner", "eta": -1})


def test_both_forms_of_an_import_path_name_the_same():
    assert import_target(f"{PARTS}.Refiner") is import_target(f"{PARTS}:Refiner") is Refiner
    assert import_target("collections:OrderedDict.fromkeys")


OWN = "One of your own is found from the folder it lies in, or from anywhere once it is installed or on PYTHONPATH"


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("x", "'x' is not an import path like 'package.module.Class'"),
        ("a..b", "'a..b' is not an import path like 'package.module.Class'"),
        ("a:b:c", "'a:b:c' is not an import path like 'package.module.Class'"),
        ("tourch.nn.Linear", f"there is no module 'tourch'; did you mean 'torch'? {OWN}"),
        ("dtag.confg.build.build", "there is no 'confg' in 'dtag'; did you mean 'dtag.config'?"),
        ("dtag.config.bild.build", "there is no 'bild' in 'dtag.config'; did you mean 'dtag.config.build'?"),
        (f"{PARTS}.refiner", f"there is no 'refiner' in '{PARTS}'; did you mean '{PARTS}.Refiner'?"),
        (f"{PARTS}:refiner", f"there is no 'refiner' in '{PARTS}'; did you mean '{PARTS}.Refiner'?"),
        (f"{PARTS}.__doc__", f"'{PARTS}.__doc__' is not a class or function"),
    ],
)
def test_a_wrong_import_path_gets_the_nearest_name(path, message):
    with pytest.raises(UsageError) as raised:
        import_target(path)
    assert str(raised.value) == message


def test_submodules_are_offered_beside_classes():
    with pytest.raises(UsageError, match=r"there is no 'handlrs' in 'logging'; did you mean .*'logging\.handlers'"):
        import_target("logging.handlrs.SocketHandler")


def test_a_module_is_not_reached_through_another_that_imported_it():
    with pytest.raises(UsageError, match="there is no 'sys' in"):
        import_target("tests.config.test_build.sys.exit")
    assert sys.exit


def test_a_module_that_fails_to_import_says_why(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "broken_part.py").write_text("1 / 0")
    (tmp_path / "needy_part.py").write_text("import not_installed_anywhere")
    with pytest.raises(UsageError, match=r"^'broken_part' cannot be imported: ZeroDivisionError: division by zero$"):
        import_target("broken_part.Class")
    with pytest.raises(UsageError, match=r"^'needy_part' needs the module 'not_installed_anywhere', which is not inst"):
        import_target("needy_part.Class")


def test_every_module_that_a_config_would_import_is_named():
    config = {
        "a": {"target": "dtag.x.Y", "inner": [{"deep": {"target": "evil:run"}}]},
        "environment": "my_envs.maze:Maze-v0",
        "data": {"environment": {"id": "other.envs:name"}, "options": {"target": "third.thing"}},
        "label": "not:a-module",
        "target": {"target": "fourth.Z"},
    }
    assert modules_named(config) == {"dtag", "evil", "my_envs", "other", "third", "fourth"}
    assert "my_envs.maze:Maze-v0" in targets_named(config)
    assert modules_named({"environment": "Hopper-v5"}) == set()
