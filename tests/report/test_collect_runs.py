"""What a report takes from folders of runs, and what it says of those it cannot count."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from dtag.config.load import load_config
from dtag.errors import DtagError, UsageError
from dtag.report.collect_runs import Collected, collect
from dtag.report.method_names import NAMES, paper_dataset, shipped_name
from dtag.report.report_contents import by_status, make_report
from dtag.report.run_records import find_runs
from tests.report.example_runs import (
    ORIGIN,
    REFERENCE,
    method_config,
    row,
    write_finetuning,
    write_grid,
    write_run,
)


def _collected(folder: Path) -> Collected:
    return collect(find_runs([folder]))


def test_off_and_on_are_methods_and_a_seed_is_one_number(tmp_path: Path) -> None:
    for seed in (0, 1):
        write_run(
            tmp_path / f"medium/rf/seed-{seed}", {"AG off": [10.0, 30.0], "AG on": [40.0, 60.0 + seed]}, seed=seed
        )
    found = {(one.method, one.seed): one for one in _collected(tmp_path).evaluations}
    assert {key: one.value for key, one in found.items()} == {
        ("RF", 0): 20.0, ("RF", 1): 20.0, ("RF+AG", 0): 50.0, ("RF+AG", 1): 50.5}  # fmt: skip
    assert {one.dataset for one in found.values()} == {"medium"}
    assert found["RF", 0].reference is not None
    assert found["RF", 0].reference.label == "d4rl scale"
    assert found["RF+AG", 1].base == "RF"


def test_an_agent_scored_again_brings_its_refinement_and_not_its_unrefined_episodes_twice(tmp_path: Path) -> None:
    run = write_run(tmp_path / "medium/dt/seed-0", {"AG off": [10.0, 30.0]}, method="dt")
    again = tmp_path / "medium/dt_ag/seed-0"
    again.mkdir(parents=True)
    (again / "config.yaml").write_text(run.config.read_text().replace("medium/dt/seed-0", "medium/dt_ag/seed-0"))
    rows = [row("AG off", 10_000, 10.0), row("AG off", 10_001, 30.0), row("AG on", 10_000, 50.0)]
    origin = {**ORIGIN, "command": f"dtag validate --ckpt {run.agent} --json x"}
    (again / "validate.json").write_text(
        json.dumps(
            {"provenance": origin, "config": method_config("dt", data={"id": "local/hopper/medium-v0"}), "rows": rows}
        )
    )
    found = {one.method: one for one in _collected(tmp_path).evaluations}
    assert set(found) == {"DT", "DT+AG"}
    assert found["DT+AG"].base == "DT"
    assert found["DT+AG"].record.rows_file == again / "validate.json"
    assert found["DT+AG"].reference == found["DT"].reference


@pytest.mark.parametrize("online", [False, True])
def test_validating_a_sweeps_run_by_hand_replaces_none_of_its_own_numbers(tmp_path: Path, online: bool) -> None:
    folder = tmp_path / ("random/td3_odt/seed-0" if online else "medium/rf/seed-0")
    run = write_finetuning(folder, [(0, 5.0), (100, 20.0)]) if online else write_run(folder, {"AG off": [19.0, 21.0]})
    rows = [row("AG off", 7, 18.0), row("AG off", 8, 18.0), row("AG on", 7, 30.0), row("AG on", 8, 30.0)]
    origin = {**ORIGIN, "command": f"dtag validate --ckpt {run.agent} ag.n_steps=5"}
    config = {**load_config([run.config]), "ag": {"n_steps": 5}}
    (folder / "validate.json").write_text(json.dumps({"provenance": origin, "config": config, "rows": rows}))
    collected = _collected(tmp_path)
    found = {one.method: one.value for one in collected.evaluations}
    name = "TD3+ODT" if online else "RF"
    assert found == {name: 20.0, f"{name} (validated)": 18.0, f"{name}+AG (validated)": 30.0}
    assert collected.notes == []
    if online:
        assert [one.before for one in collected.evaluations if one.method == name] == [5.0]
    assert {one.base for one in collected.evaluations} == {name, f"{name} (validated)"}


def test_what_is_unfinished_failed_or_never_started_is_listed(tmp_path: Path) -> None:
    write_run(tmp_path / "medium/rf/seed-0", {"AG off": [1.0]})
    for seed in (1, 2):
        run = write_run(tmp_path / f"medium/rf/seed-{seed}", {"AG off": [1.0]}, seed=seed)
        run.results.unlink()
    log = tmp_path / "medium/rf/seed-1/logs/csv/policy/metrics.csv"
    log.parent.mkdir(parents=True)
    log.write_text("epoch,step,train/loss\n0,41,0.5\n")
    (tmp_path / "medium/rf/seed-2/output.log").write_text("$ dtag fit\ndtag: the loss is NaN\n")
    waiting = [{"run": "medium/rf/seed-3", "status": "waiting"}, {"run": "medium/rf/seed-1", "status": "stopped"}]
    (tmp_path / "results.json").write_text(json.dumps({"sweep": {}, "unfinished": waiting}))
    report = make_report([tmp_path])
    found = {
        status: [(r.folder.name, r.message) for r in group] for status, group in by_status(report.unscored).items()
    }
    assert found["unfinished"] == [("seed-1", "policy step 42 of 50,000")]
    assert found["not started"] == [("seed-3", "waiting")]
    ((name, message),) = found["failed"]
    assert name == "seed-2"
    assert message.startswith("the loss is NaN")
    assert [one.seed for one in report.evaluations] == [0]


def test_mixed_references_and_budgets_are_said(tmp_path: Path) -> None:
    write_run(tmp_path / "medium/rf/seed-0", {"AG off": [1.0]}, train={"n_steps": 100})
    other = {**REFERENCE, "maximum": 2000.0, "label": "local"}
    write_run(tmp_path / "medium/rf/seed-1", {"AG off": [1.0, 2.0]}, seed=1, train={"n_steps": 200}, reference=other)
    write_run(tmp_path / "medium/bc/seed-0", {"AG off": [1.0, 2.0, 3.0]}, method="bc")
    text = "\n".join(make_report([tmp_path]).cautions)
    assert "different scales" in text
    assert "100 = 1000 (d4rl scale)" in text
    assert "100 = 2000 (local)" in text
    assert "medium, RF: seeds 0, 1 differ in more than the seed: train.n_steps = 100, 200" in text
    assert "episodes a run differ" in text


def test_two_configs_of_one_name_are_two_methods_and_two_datasets_are_not(tmp_path: Path) -> None:
    for name, rate in (("a", 1e-3), ("b", 1e-4)):
        write_run(tmp_path / name, {"AG off": [1.0]}, name=name, optimizer={"learning_rate": rate})
    write_run(tmp_path / "c", {"AG off": [1.0]}, name="c", data="local/walker2d/medium-v0", train={"n_steps": 7})
    found = {(one.dataset, one.method) for one in _collected(tmp_path).evaluations}
    hopper, walker = "local/hopper/medium-v0", "local/walker2d/medium-v0"
    assert found == {(hopper, "RF"), (hopper, "RF [optimizer.learning_rate=0.0001]"), (walker, "RF")}


HUBER = {"target": "mine.HuberLoss"}
MINE = {"model": {"target": "mine.MonteCarloQ"}}


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"critic": None}, "RF"),  # evaluated without one, and nothing else
        ({"critic": {"model": {"target": "E", "members": {"a": {"target": "dtag.critic.iql.IQL"}}}}}, "RF"),
        ({"critic": MINE}, "RF [critic MonteCarloQ]"),
        ({"losses": {"mine": HUBER}}, "RF [+HuberLoss]"),
        ({"losses": {"action": HUBER}, "critic": MINE}, "RF [+HuberLoss, -ActionNLL, critic MonteCarloQ]"),
        ({"experiment": "own", "losses": {"action": HUBER}}, "own"),
    ],
)
def test_a_method_with_a_part_of_ones_own_is_no_shipped_one_and_says_which(tmp_path: Path, changes, name) -> None:
    write_run(tmp_path / "a", {"AG off": [1.0]}, **{"experiment": "rf", "name": "a", **changes})
    (found,) = _collected(tmp_path).evaluations
    assert found.method == name
    assert (found.shipped == "rf") == (name == "RF")


def test_configs_that_differ_by_what_one_lacks_or_by_a_fourth_key_are_counted_apart(tmp_path: Path) -> None:
    write_run(tmp_path / "a", {"AG off": [1.0]}, name="a")
    write_run(tmp_path / "b", {"AG off": [2.0]}, name="b", context=None)
    keys = {"hidden": 16, "n_layers": 1, "n_heads": 2}
    for place, rate in enumerate((0.5, 0.25)):
        write_run(
            tmp_path / f"c{place}",
            {"AG off": [3.0 + place]},
            name=f"c{place}",
            policy={**keys, "residual_dropout": rate},
        )
    found = _collected(tmp_path)
    assert found.notes == []
    names = {one.value: one.method for one in found.evaluations}
    assert names[1.0] == "RF"
    assert names[2.0] == "RF [context=null]"
    assert names[3.0].startswith("RF [policy.")
    assert len(set(names.values())) == 4


def test_the_best_cell_of_a_grid_is_marked_with_the_default_beside_it(tmp_path: Path) -> None:
    for seed in (0, 1):
        run = write_run(tmp_path / f"medium/rf/seed-{seed}", {"AG off": [10.0], "AG on": [12.0]}, seed=seed)
        cells = {("none", 0.0, 0): [10.0], ("none", 0.01, 5): [12.0 + seed], ("none", 0.1, 1): [20.0 * seed]}
        cells |= {("fm", 0.1, 1): [99.0]} if seed == 0 else {}  # not in every seed's grid
        write_grid(run, {**cells, ("none", 0.03, 5): [14.0]})
    report = make_report([tmp_path])
    cells = {cell.method: cell for cell in report.table.cells.values()}
    best, default = cells["RF+AG [grid ag: best cell]"], cells["RF+AG [grid ag: default]"]
    assert best.is_picked
    assert best.evaluations[0].setting == "none eta=0.03 n=5 chain"
    assert best.shown() == "14.0 ± 0.0†"
    assert default.values.tolist() == [12.0, 13.0]
    assert default.evaluations[0].pick == "unpicked"
    assert cells["RF [grid ag]"].values.tolist() == [10.0, 10.0]
    assert best.evaluations[0].record.provenance["command"] == "dtag sweep --ckpt"


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_method_is_known_by_its_parts(name: str) -> None:
    assert shipped_name(method_config(name)) == name


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("hopper-medium-v2", "hopper-medium-v2"),
        ("local/hopper/medium-v0", "hopper-medium-v2"),
        ("mujoco/halfcheetah/medium-replay-v0", "halfcheetah-medium-replay-v2"),
        ("local/hopper/medium-v0+local/hopper/expert-v0", "hopper-medium-expert-v2"),
        ("local/hopper/medium-v0+local/walker2d/expert-v0", None),
        ("local/pointmaze/umaze-v1", "maze2d-umaze-v1"),
        ("maze2d-large-v1", "maze2d-large-v1"),
        ("local/line/test-v0", None),
    ],
)
def test_a_dataset_is_known_to_the_papers(data: str, expected: str | None) -> None:
    assert paper_dataset(data) == expected


def test_paths_without_runs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"there is no .*nowhere"):
        find_runs([tmp_path / "nowhere"])
    with pytest.raises(UsageError, match="no run under"):
        find_runs([tmp_path])
    run = write_run(tmp_path / "medium/rf/seed-0", {"AG off": [1.0]})
    run.results.unlink()
    shutil.rmtree(tmp_path / "logs", ignore_errors=True)
    with pytest.raises(DtagError, match="no run there has finished"):
        make_report([tmp_path])
