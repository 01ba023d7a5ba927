from __future__ import annotations

import pytest

from dtag.config.explain import Row, explain, explain_target
from dtag.errors import UsageError
from tests.config.test_schema import PARTS, SCHEMA


def test_every_key_has_a_row_with_type_default_and_sentence():
    assert explain(SCHEMA, key="ag") == [
        Row("ag.target", "an import path", f"{PARTS}.Refiner", "Moves an action along the gradient of Q."),
        Row("ag.eta", "a number", "required", "step size; tune it first."),
        Row("ag.n_steps", "a whole number", "10", "how many steps, 0 for none."),
        Row("ag.clip", 'one of "none", "norm" or a number', '"none"', "what bounds the step."),
        Row("ag.rule", 'one of "off", "chain", "anchor"', '"off"', "what bounds the step."),
    ]
    assert explain(SCHEMA, key="seed") == [Row("seed", "a whole number", "0", "The seed of everything.")]


def test_targets_entries_and_nested_components_come_from_the_config():
    config = {
        "policy": {"head": {"target": f"{PARTS}.GaussianHead"}},
        "ag": {"target": f"{PARTS}.PolicyGradient"},
        "losses": {"pg": {"target": f"{PARTS}.PolicyGradient"}, "nll": None},
    }
    keys = [row.key for row in explain(SCHEMA, config)]
    assert {"losses.pg.weight", "losses.pg.target", "ag.weight", "policy.head.std"} <= set(keys)
    assert not {"ag.eta", "policy.state_dim", "losses.nll.target"} & set(keys)
    assert explain(SCHEMA, config, "policy.head.std") == [
        Row("policy.head.std", "a number", "1.0", "initial standard deviation.")
    ]


def test_defaults_that_yaml_cannot_write_are_shown_as_python():
    assert [row.default for row in explain(SCHEMA, key="policy.callback")] == [repr(print)]


def test_a_key_that_does_not_exist_gets_the_nearest():
    with pytest.raises(UsageError, match=r"^there is no key 'ag\.etaa' in the config; did you mean 'ag.eta'"):
        explain(SCHEMA, key="ag.etaa")


def test_a_class_can_be_explained_by_its_import_path():
    assert explain_target(f"{PARTS}.PolicyGradient", "losses.pg") == [Row("losses.pg.weight", "a number", "1.0", "")]
    assert "learning rate" in explain_target("torch.optim.AdamW", supplied=frozenset({"params"}))[0].help


class Elsewhere:
    """first: of the elsewhere described. second: likewise,
    over two lines.

    Not of second.
    """

    def __init__(self, first: int = 0, second: int = 0) -> None: ...


class Borrowing:
    """first: see Elsewhere; with more. second: see Nowhere. third: own. Others: see Elsewhere.

    The end.
    """

    def __init__(self, first: int, second: int, third: int, fourth: int) -> None: ...


class BorrowingAll:
    """Others: see Elsewhere."""

    def __init__(self, first: int, second: int, third: int) -> None: ...


def test_see_and_others_lead_to_what_another_class_says():
    texts = {row.key: row.help for row in explain_target(f"{__name__}.Borrowing")}
    assert texts == {
        "first": "of the elsewhere described; with more.",
        "second": "see Nowhere.",
        "third": "own.",
        "fourth": "see Elsewhere",
    }
    texts = {row.key: row.help for row in explain_target(f"{__name__}.BorrowingAll")}
    assert texts == {
        "first": "of the elsewhere described.",
        "second": "likewise, over two lines.",
        "third": "see Elsewhere",
    }
