from __future__ import annotations

from pathlib import Path

import pytest

import dtag.config.load as load_module
from dtag.config.load import find_config, load_config, refuse_emptying, to_yaml
from dtag.errors import UsageError


@pytest.fixture
def write(tmp_path):
    def write_file(text: str, name: str = "a.yaml") -> Path:
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return write_file


def failure(paths=(), overrides=(), base=None) -> str:
    with pytest.raises(UsageError) as raised:
        load_config(paths, overrides, base)
    return str(raised.value)


def test_later_files_and_overrides_win_and_interpolations_resolve_last(write):
    base = write("data: {context_length: 20}\npolicy: {context_length: '${data.context_length}', sizes: [1, 2]}\n")
    preset = write("policy: {sizes: [3]}\nlosses: {pg: {target: a.b, weight: 1}}\n", "preset.yaml")
    config = load_config([base, preset], ["data.context_length=5", "losses.pg.weight=1e-4"])
    assert config == {
        "data": {"context_length": 5},
        "policy": {"context_length": 5, "sizes": [3]},
        "losses": {"pg": {"target": "a.b", "weight": 0.0001}},
    }
    assert type(config) is type(config["data"]) is dict
    assert type(config["policy"]["sizes"]) is list


def test_a_file_keeps_what_it_asks_of_the_ones_before_it(write):
    base = write("critic: {model: {target: a.B, discount: 0.9, rate: '${rate}', hidden: [3]}}\nrate: 0.5\n")
    kept = "{target: a.C, discount: '${earlier:critic.model.discount}', rate: '${earlier:critic.model.rate}', "
    over = write(f"critic: {{model: {kept} nope: '${{earlier:critic.model.nope.deep}}'}}}}", "over.yaml")
    assert load_config([base, over])["critic"]["model"] == {"target": "a.C", "discount": 0.9, "rate": 0.5}
    assert load_config([over])["critic"]["model"] == {"target": "a.C"}


def test_an_empty_file_is_an_empty_config(write):
    assert load_config([write("")], []) == {}


def test_yaml_traps(write):
    text = "a: 1e-4\nb: 1E5\nc: none\nd: off\ne: null\nf: .inf\ng: 1e6\nh: '1e-4'\ni: ~\n"
    config = load_config([write(text)], ["j=1e-4", "k=none", "l=off", "m=null", "n=[1,2]", "o={p: 1}", "q='off'", "r="])
    assert config == {
        "a": 0.0001, "b": 100000.0, "c": "none", "d": False, "e": None, "f": float("inf"), "g": 1e6, "h": "1e-4",
        "i": None, "j": 0.0001, "k": "none", "l": False, "m": None, "n": [1, 2], "o": {"p": 1}, "q": "off", "r": None,
    }  # fmt: skip
    assert type(config["a"]) is type(config["j"]) is float


def test_an_override_with_null_keeps_the_key_and_a_later_one_revives_it(write):
    file = write("losses: {pg: {target: a.b}, nll: {target: a.c}}")
    assert load_config([file], ["losses.pg=null"])["losses"] == {"pg": None, "nll": {"target": "a.c"}}
    assert load_config([file], ["losses.pg=null", "losses.pg.weight=1"])["losses"]["pg"] == {"weight": 1}


def test_removing_a_component_that_is_not_there_is_refused(write):
    file = write("losses: {pg: {target: a.b}, nll: {target: a.c}}\nag: {clip: 1}")
    expected = "the override 'losses.pgg=null' removes nothing: there is pg, nll; did you mean 'losses.pg'?"
    assert failure([file], ["losses.pgg=null"]) == expected
    assert load_config([file], ["ag.eta=null", "critic=null", "critic.a=null"])["ag"] == {"clip": 1, "eta": None}
    assert load_config([write("ag: {target: a.b}")], ["critic=null"]) == {"ag": {"target": "a.b"}, "critic": None}


@pytest.mark.parametrize("word", ["losses={}", "methods={}"])
def test_emptying_named_components_by_merging_is_refused(word):
    with pytest.raises(
        UsageError, match=f"'{word}' changes nothing, as mappings merge; drop one by {word[:-3]}.NAME=null"
    ):
        refuse_emptying(["ag={}", word], ["losses", "methods"])
    refuse_emptying(["ag={}", "losses.pg={}", "critic={}"], ["losses"])


@pytest.mark.parametrize("override", ["ag.eta", "=3", "a..b=1", ".a=1", "a b=1", "", "--fast"])
def test_a_malformed_override_is_refused(override):
    assert failure([], [override]) == f"the override '{override}' is not of the form key=value, like ag.eta=0.1"


def test_an_override_with_a_malformed_value_is_refused():
    text = failure([], ["a={b: 1"])
    assert text.startswith("the override 'a={b: 1' has a value that is not valid YAML: ")
    assert "\n" not in text
    assert failure([], ["a={1: 2}"]) == "the override 'a={1: 2}' has the key 'a.1', which is not text: put it in quotes"


def test_an_override_through_a_scalar_or_list_is_refused(write):
    file = write("a: {b: 3, c: [1, 2]}")
    assert failure([file], ["a.b.x=1"]) == "the override 'a.b.x=1' cannot be applied: 'a.b' is 3, not a mapping"
    expected = "cannot be applied: 'a.c' is a list: write all of it, like a.c=[1,2], not a mapping"
    assert failure([file], ["a.c.0=1"]) == f"the override 'a.c.0=1' {expected}"
    assert failure([file], ["a.c[0]=1"]) == f"the override 'a.c[0]=1' {expected}"
    assert failure([], ["a=1", "a.b=2"]) == "the override 'a.b=2' cannot be applied: 'a' is 1, not a mapping"


def test_malformed_yaml_is_refused_with_file_and_line(write):
    file = write("a: 1\nb: c: d\n")
    assert failure([file]).startswith(f"{file}, line 2: not valid YAML: ")
    file = write("a: 1\nb: 2\na: 3\n")
    assert failure([file]) == f"{file}, line 3: not valid YAML: found duplicate key a"


def test_a_file_that_is_not_a_mapping_of_texts_is_refused(write):
    file = write("- 1\n")
    assert failure([file]) == f"{file}: a config is a mapping of keys to values, this is a list"
    file = write("a: [{on: 1}]\n")
    assert failure([file]) == f"{file}: the key 'a.0.True' is not text to YAML: put it in quotes"


def test_a_binary_file_is_refused(tmp_path):
    (tmp_path / "a.yaml").write_bytes(b"\xff\xfe\x00\x80")
    assert failure([tmp_path / "a.yaml"]).startswith(f"{tmp_path / 'a.yaml'}")


@pytest.mark.parametrize("text", ["a: ${", "a: ${nope:1}", "a: ???", "a: ${a}"])
def test_what_omegaconf_cannot_resolve_is_one_line(write, text):
    assert "\n" not in failure([write(text)])


def test_an_interpolation_to_a_missing_key_names_both_keys(write):
    file = write("data: {context_length: 2}\npolicy: {length: '${data.contxt_length}'}")
    assert failure([file]) == (
        "policy.length: ${data.contxt_length} names a key that the config does not write;"
        " did you mean 'data.context_length'?"
    )


def test_overrides_apply_to_a_resolved_config_without_resolving_its_texts():
    base = {"a": "${oc.env:HOME}", "b": {"c": "\\${x}", "d": [1, "${"]}, "e": 1}
    config = load_config([], ["e=2", "f=${e}"], base)
    assert config == {**base, "e": 2, "f": 2}


@pytest.mark.parametrize(
    "text", ["${a}", "\\${a", "off", "1e-4", "a: b", "nan", "null", "x\ny", "0x1f", "1:30", "~", ""]
)
def test_every_text_survives_yaml(write, text):
    config = {"x": text, "y": [text]}
    assert load_config([write(to_yaml(config))], []) == config


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    folder = tmp_path / "site-packages"
    (folder / "dtag" / "config").mkdir(parents=True)
    monkeypatch.setattr(load_module, "__file__", str(folder / "dtag" / "config" / "load.py"))
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.mark.parametrize("parent", ["dtag", "."])
@pytest.mark.parametrize("name", ["conf/methods/td3+bc.yaml", "methods/td3+bc.yaml", "methods/td3+bc"])
def test_shipped_configs_are_found_in_a_wheel_and_in_a_checkout(shipped, parent, name):
    file = shipped / parent / "conf" / "methods" / "td3+bc.yaml"
    file.parent.mkdir(parents=True)
    file.write_text("a: 1")
    assert find_config(name).samefile(file)
    assert load_config([name], []) == {"a": 1}


def test_a_file_as_given_comes_before_a_shipped_one(shipped, tmp_path):
    for folder in (shipped / "dtag" / "conf", tmp_path / "conf"):
        folder.mkdir()
        (folder / "hopper.yaml").write_text("a: 1")
    assert find_config("conf/hopper.yaml").samefile(tmp_path / "conf" / "hopper.yaml")
    assert find_config("hopper").samefile(shipped / "dtag" / "conf" / "hopper.yaml")


def test_an_unknown_config_gets_the_nearest_shipped_names(shipped):
    for name in ("hopper", "a/folder/far/away/ant"):
        file = shipped / "dtag" / "conf" / f"{name}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("")
    text = "there is no config '{}', neither a file nor a shipped one; did you mean '{}'?"
    assert failure(["hoper.yaml"]) == text.format("hoper.yaml", "hopper")
    assert failure(["conf/ant.yaml"]) == text.format("conf/ant.yaml", "a/folder/far/away/ant")
    assert failure(["/nowhere/hopper.yaml"]).startswith("there is no config '/nowhere/hopper.yaml'")


class Mine:
    def __init__(self, hidden: int = 8, n: int = 1) -> None: ...


def test_an_override_of_a_target_keeps_what_the_new_one_takes_whatever_its_place():
    own = f"{__name__}.Mine"
    config = {
        "critic": {"model": {"target": "a.A", "expectile": 0.7, "n": 3}, "steps": 5},
        "policy": {"n": 2, "old": 1},
    }
    words, usual = ["critic.model.hidden=4", f"critic.model.target={own}"], {"policy": "p.Usual"}
    for order in (words, words[::-1], [f"critic.model={{target: {own}, hidden: 4}}"]):
        assert load_config([config], order)["critic"] == {"model": {"target": own, "hidden": 4, "n": 3}, "steps": 5}
    with_typo = load_config([config], ["critic.model.hiden=4", f"critic.model.target={own}"])["critic"]["model"]
    assert with_typo == {"target": own, "n": 3, "hiden": 4}  # stays, for the check to refuse it
    anew = load_config([config], ["critic=null", f"critic.model.target={own}"])["critic"]
    assert anew == {"model": {"target": own}}
    kept = load_config([config], ["critic.model.target=a.A", "critic.model.hidden=4"])["critic"]["model"]
    assert kept == {"target": "a.A", "expectile": 0.7, "n": 3, "hidden": 4}
    assert load_config([config], [f"policy.target={own}"], usual=usual)["policy"] == {"target": own, "n": 2}
    same = load_config([config], ["policy.target=p.Usual"], usual=usual)["policy"]
    assert same == {"target": "p.Usual", "n": 2, "old": 1}
    assert load_config([config, {"policy": {"target": own}}], usual=usual)["policy"] == {"target": own}  # a file


def test_a_section_that_names_another_target_starts_afresh(write):
    first = write(
        "critic: {target: a.One, delay: 2, model: {target: a.Q, n: 3, rule: {target: r.One, noise: 1}}}", "first"
    )
    same = write("critic: {model: {rule: {target: r.Two}}}", "same")
    merged = load_config([first, same])["critic"]
    assert merged == {"target": "a.One", "delay": 2, "model": {"target": "a.Q", "n": 3, "rule": {"target": "r.Two"}}}
    other = load_config([first, write("critic: {target: a.Two, model: {target: a.Q}}", "other")])["critic"]
    assert other == {"target": "a.Two", "model": {"target": "a.Q"}}
    assert load_config([first], ["critic.model.rule.target=r.Two"])["critic"]["model"]["rule"]["noise"] == 1
