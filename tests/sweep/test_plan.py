"""From a sweep's YAML to its jobs: which there are, what each needs, whose critic it gets."""

from __future__ import annotations

from pathlib import Path

import pytest

from dtag.config.load import to_yaml
from dtag.critic.iql import IQL
from dtag.errors import UsageError
from dtag.sweep.shared_critic import critic_name
from dtag.sweep.sweep_file import read_sweep
from dtag.training.experiment import resolve
from tests.reference.toy_environment import line_config
from tests.sweep.example_sweeps import METHODS, jobs_of


class LearnsAlong(IQL):
    """A critic that is trained beside the policy."""

    learns_along = True


def _critics(jobs: dict[str, object]) -> list[str]:
    return [name for name in jobs if "/critics/" in name]


def test_there_is_a_run_for_each_method_dataset_and_seed(tmp_path: Path) -> None:
    jobs = jobs_of(tmp_path, methods=METHODS, datasets={"a": {}, "b": {"overrides": ["data.id=other"]}}, seeds=[0, 3])
    runs = [name for name in jobs if name not in _critics(jobs)]
    assert sorted(runs) == sorted(f"{d}/{m}/seed-{s}" for d in "ab" for m in METHODS for s in (0, 3))
    assert jobs["b/rf/seed-3"].folder == tmp_path / "runs" / "trial" / "b" / "rf" / "seed-3"
    seeds = [job.cell.seed for job in jobs.values()]
    assert seeds == sorted(seeds)  # so that an early stop leaves whole comparisons


def test_every_job_comes_after_those_it_needs(tmp_path: Path) -> None:
    seen: set[str] = set()
    for name, job in jobs_of(tmp_path, methods=dict(reversed(METHODS.items()))).items():
        assert set(job.needs) <= seen
        seen.add(name)


def test_runs_of_equal_critics_share_one_and_others_have_their_own(tmp_path: Path) -> None:
    jobs = jobs_of(tmp_path, methods=METHODS, seeds=[0, 1])
    assert len(_critics(jobs)) == 4
    for seed in (0, 1):
        rf, again, other, dt = (
            jobs[f"line/{name}/seed-{seed}"] for name in ("rf", "rf_again", "rf_other_critic", "dt")
        )
        assert rf.needs == again.needs != other.needs
        critic = jobs[rf.needs[0]]
        assert critic.kind == "critic"
        assert critic.words[-2:] == ("--stage", "critic")
        assert rf.words[-1] == again.words[-1] == f"critic.ckpt={critic.product}"
        assert critic.config["seed"] == seed
        assert dt.needs == ()


@pytest.mark.parametrize(
    ("override", "shares"),
    [
        ("data.context_length=5", True),
        ("data.return_scale=3", True),
        ("policy.hidden=16", True),
        ("data.reward_rule=locomotion", False),
        ("data.id=local/line/other-v0", False),
        ("critic.batch_size=8", False),
        ("critic.model.expectile=0.8", False),
    ],
)
def test_what_a_critic_depends_on_tells_critics_apart_and_nothing_else_does(
    override: str, shares: bool, tmp_path: Path
) -> None:
    methods = {"rf": {"config": "{line}"}, "changed": {"config": "{line}", "overrides": [override]}}
    jobs = jobs_of(tmp_path, methods=methods)
    assert (jobs["line/rf/seed-0"].needs == jobs["line/changed/seed-0"].needs) is shares


def test_a_shared_critics_name_is_the_same_whatever_else_the_sweep_holds(tmp_path: Path) -> None:
    alone, among = jobs_of(tmp_path), jobs_of(tmp_path, methods=dict(reversed(METHODS.items())))
    assert alone["line/rf/seed-0"] == among["line/rf/seed-0"]


def test_a_shared_critics_name_outlives_a_new_parameter_of_its_class(tmp_path: Path) -> None:
    config = jobs_of(tmp_path)["line/rf/seed-0"].config
    model, data = config["critic"]["model"], config["data"]
    assert model.pop("discount") == 0.99  # as of a version that has none yet
    assert data.pop("reward_rule") == "raw"
    before = critic_name(config)
    model["discount"], data["reward_rule"] = 0.99, "raw"
    assert critic_name(config) == before
    model["discount"] = 0.9
    assert critic_name(config) != before


def test_a_critic_that_learns_along_or_is_given_has_no_job(tmp_path: Path) -> None:
    live = line_config("local/line/test-v0", "unused", critic=None)
    live["critic"] = {
        "target": "dtag.training.settings.LiveCriticSettings",
        "model": {"target": f"{__name__}.LearnsAlong"},
    }
    (tmp_path / "live.yaml").write_text(to_yaml(live))
    methods = {
        "along": {"config": str(tmp_path / "live.yaml")},
        "given": {"config": "{line}", "overrides": ["critic.ckpt=some/critic.ckpt"]},
        "on": {"of": "given", "critic_of": "along"},
        "on_given": {"of": "along", "critic_of": "given"},
    }
    jobs = jobs_of(tmp_path, methods=methods)
    assert _critics(jobs) == []
    assert jobs["line/along/seed-0"].needs == ()
    agent = jobs["line/along/seed-0"].folder / "agent.ckpt"
    assert f"critic.ckpt={agent}" in jobs["line/on/seed-0"].words
    assert jobs["line/on/seed-0"].needs == ("line/given/seed-0", "line/along/seed-0")
    assert "critic.ckpt=some/critic.ckpt" in jobs["line/on_given/seed-0"].words


def test_an_agent_is_scored_again_with_anothers_critic(tmp_path: Path) -> None:
    jobs = jobs_of(tmp_path, "eval.episodes=2", "ag.n_steps=3", methods=METHODS)
    job, critic = jobs["line/dt_ag/seed-0"], jobs[jobs["line/rf/seed-0"].needs[0]]
    assert job.kind == "validate"
    assert job.needs == ("line/dt/seed-0", critic.name)
    assert job.words[:3] == ("validate", "--ckpt", str(jobs["line/dt/seed-0"].folder / "agent.ckpt"))
    assert job.words[-4:] == (f"critic.ckpt={critic.product}", "ag.eta=0.1", "eval.episodes=2", "ag.n_steps=3")
    assert job.config["ag"]["eta"] == 0.1
    assert job.config["critic"]["n_steps"] == 40


def test_a_method_runs_only_where_it_says_and_so_do_those_that_build_on_it(tmp_path: Path) -> None:
    methods = {**METHODS, "rf": {"config": "{line}", "datasets": ["a"], "seeds": [1]}}
    jobs = jobs_of(tmp_path, methods=methods, datasets={"a": {}, "b": {}}, seeds=[0, 1])
    assert [name for name in jobs if "/rf/" in name] == ["a/rf/seed-1"]
    assert [name for name in jobs if "/dt_ag/" in name] == ["a/dt_ag/seed-1"]
    assert len([name for name in jobs if "/dt/" in name]) == 4


def test_later_overrides_win_command_line_over_method_over_dataset_over_common(tmp_path: Path) -> None:
    sections = {
        "overrides": ["train.n_steps=1", "train.log_every=1", "train.checkpoint_every=1", "train.evaluate_every=1"],
        "datasets": {"line": {"overrides": ["train.n_steps=2", "train.log_every=2", "train.checkpoint_every=2"]}},
        "methods": {"rf": {"config": ["{line}"], "overrides": ["train.n_steps=3", "train.log_every=3"]}},
    }
    train = jobs_of(tmp_path, "train.n_steps=4", **sections)["line/rf/seed-0"].config["train"]
    assert [train[key] for key in ("n_steps", "log_every", "checkpoint_every", "evaluate_every")] == [4, 3, 2, 1]
    assert train["threads"] == 1


def test_a_method_without_a_critic_stays_without_whatever_comes_later(tmp_path: Path) -> None:
    methods = {"dt": METHODS["dt"], "file": {"config": ["{line}", str(tmp_path / "none.yaml")]}}
    (tmp_path / "none.yaml").write_text("critic: null\n")
    jobs = jobs_of(tmp_path, "critic.n_steps=9", methods=methods, preset="small", overrides=["critic.batch_size=8"])
    assert [job.config["critic"] for job in jobs.values()] == [None, None]
    job = jobs["line/file/seed-0"]
    assert resolve([*job.words[2:5:2]], list(job.words[7:]), "small") == job.config


def test_a_methods_preset_stands_in_place_of_the_sweeps(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text("policy: {n_layers: 3}\n")
    methods = {"rf": {"config": "{line}"}, "own": {"config": "{line}", "preset": str(tmp_path / "tiny.yaml")}}
    jobs = jobs_of(tmp_path, methods=methods, preset="small")
    assert [jobs[f"line/{name}/seed-0"].config["policy"]["n_layers"] for name in methods] == [2, 3]


def test_a_jobs_words_resolve_to_its_config(tmp_path: Path) -> None:
    job = jobs_of(tmp_path, preset="small")["line/rf/seed-0"]
    assert job.words[:5] == ("fit", "--config", str(tmp_path / "line.yaml"), "--preset", "small")
    assert resolve([job.words[2]], list(job.words[5:]), "small") == job.config


def test_the_mistakes_of_all_methods_are_told_at_once_and_once(tmp_path: Path) -> None:
    methods = {
        **METHODS,
        "typo": {"config": "{line}", "overrides": ["ag.etaa=1"]},
        "none": {"config": "no_such.yaml"},
        "again": {"of": "rf", "overrides": ["policy.hidden=4", "train.n_steps=7"]},
        "without": {"of": "rf", "critic_of": "dt"},
    }
    with pytest.raises(UsageError) as error:
        jobs_of(tmp_path, methods=methods, seeds=[0, 1, 2])
    text = str(error.value)
    for part in ("5 mistakes", "methods.typo with datasets.line", "did you mean 'ag.eta'", "no_such.yaml",
                 "policy cannot be changed without training", "train.n_steps cannot be changed without training",
                 "methods.without.critic_of: dt has no critic"):  # fmt: skip
        assert text.count(part) == 1


@pytest.mark.parametrize("override", ["data.return_scale=3", "data.context_length=5", "data.top_fraction=0.5"])
def test_a_critic_that_learns_from_segments_depends_on_how_they_are_made(override: str, tmp_path: Path) -> None:
    cgdt = [
        "critic.model={target: dtag.policy.return_critic.ReturnCritic, hidden: 8, n_layers: 1, n_heads: 2}",
        "ag=null",
    ]
    methods = {name: {"config": "{line}", "overrides": cgdt} for name in ("cgdt", "again", "changed")}
    methods["changed"] = {"config": "{line}", "overrides": [*cgdt, override]}
    jobs = jobs_of(tmp_path, methods=methods)
    cgdt_needs, again, changed = (jobs[f"line/{name}/seed-0"].needs for name in methods)
    assert cgdt_needs == again != changed


@pytest.mark.parametrize(
    ("word", "near"), [("methods.rff=null", "did you mean 'rf'"), ("datasets.medum=null", "'medium'")]
)
def test_dropping_what_is_not_there_is_refused_with_the_nearest(word: str, near: str) -> None:
    with pytest.raises(UsageError, match=f"drops nothing: .*{near}"):
        read_sweep("conf/sweep/example.yaml", [word])
    assert "rf_by_length" not in read_sweep("conf/sweep/example.yaml", ["methods.rf_by_length=null"]).methods
