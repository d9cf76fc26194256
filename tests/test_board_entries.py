"""Entries: what each is told, who is refused and why, agents, and results that come out again."""

import itertools
import json
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from llmqueue_gym.boards import board, boards, fairness, load_boards, outside, play, registered, stored
from llmqueue_gym.boards.entry import Entry, agent_entry, find, misfit, named
from llmqueue_gym.boards.page import put_tables
from llmqueue_gym.boards.play import BOUND, numbers
from llmqueue_gym.boards.ranked import Ranked
from llmqueue_gym.boards.recorded import FOLDER_VARIABLE
from llmqueue_gym.boards.standings import ranking
from llmqueue_gym.boards.workers import progress, workers
from llmqueue_gym.envs.opened import baseline_agent
from llmqueue_gym.errors import BadInput
from llmqueue_gym.evaluation.results import read_json, write_json
from llmqueue_gym.policies import Policy
from llmqueue_gym.policies.learned import zoo_folder
from llmqueue_gym.systems.mg1 import MG1

FROZEN = [on for on in boards().values() if on.stored]
ROOT = Path(__file__).parents[1]
STORED, PAGE = ROOT / "experiments" / "leaderboard", ROOT / "docs" / "leaderboard.md"


@pytest.fixture
def small(small_boards):
    return load_boards(small_boards)


@pytest.fixture
def here(monkeypatch):
    """Play entries from outside in this process, which is quicker than a cell."""
    monkeypatch.setattr(play, "confined", lambda entry, tasks, bar, what: [call(*given) for call, given in tasks])


# What an entry is told.


def test_what_registered_policies_are_told():
    told = {one.name: one.told for one in registered(board("mg1"))}
    assert told["fcfs"] == "nothing" and told["sprpt"] == "prediction" and told["srpt"] == "truth"
    assert find(board("llm"), "srpt").told == "truth"


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("def policy(job, queue, params):\n    return queue.jobs\n", "nothing"),
        ("def policy(job, queue, params):\n    return queue.jobs + 0.1 * queue.work\n", "prediction"),
    ],
)
def test_an_entry_is_told_what_it_reads(code, told, entry, small):
    on, made = outside.read(entry(code, board="dispatch"), small)
    assert made.told == told and made.player.d == 2 and made.player.name == "mine"
    assert numbers(on.scenarios["a"], made, [0], on.view)["cost"][0] > 0


def test_an_entry_travels_to_other_processes(entry, small):
    for one in (named(MG1, "srpt"), outside.read(entry(), small)[1]):
        again = pickle.loads(pickle.dumps(one))
        assert (again.name, again.told) == (one.name, one.told)
        scenario = small["mg1"].scenarios["a"]
        assert numbers(scenario, again, [1], {}) == numbers(scenario, one, [1], {})


FLEET = """
title = "A small fleet"

[boards.fleet]
title = "Two replicas: which one a request is sent to"
system = "fleet"
seeds = 3

[boards.fleet.scenarios]
a = {replicas = 2, lengths = "azure-conv", rate = 8.0, n_jobs = 200}
"""


@pytest.mark.parametrize("folder", sorted(zoo_folder().glob("*/*")), ids=lambda folder: folder.name)
def test_a_trained_policy_sent_from_outside_plays_as_that_of_the_library(folder, entry, small, tmp_path):
    if folder.parent.name == "routing":
        (tmp_path / "fleet.toml").write_text(FLEET, encoding="utf-8")
        small = load_boards(tmp_path / "fleet.toml")
    on = next(on for on in small.values() if any(one.name == folder.name for one in registered(on)))
    card = json.loads((folder / "card.json").read_text()) | {"name": "sent", "board": on.name}
    _, sent = outside.read(entry(None, {"policy.npz": (folder / "policy.npz").read_bytes()}, **card), small)
    ours = find(on, folder.name)
    assert (sent.told, sent.learned, sent.player.params) == (ours.told, True, ours.player.params)
    scenario = on.scenarios["a"]
    assert numbers(scenario, sent, [0], on.view) == numbers(scenario, ours, [0], on.view)


# Who is refused.


def faked(cost, monkeypatch):
    """Let `play_fairly` see made-up costs of (player, seed, seeds played before)."""

    def plays(on, one, seeds, work, bar, what):
        costs = [cost(one.name, seed, list(seeds[:k])) for k, seed in enumerate(seeds)]
        return [{"cost": costs, "p99": costs} for _ in on.fields]

    monkeypatch.setattr(fairness, "play_scenarios", plays)


def fairly(on, entry, kept=()):
    return fairness.play_fairly(on, entry, dict(kept), None, None)


def chance(seed):
    return float(np.random.default_rng(seed).uniform(1, 9))


def better(name, seed, share=0.8):
    """Cost of somebody who knows nothing of seeds."""
    return chance(seed) * (share + 0.01 * chance(seed + 1) if name == "mine" else 1.0)


HONEST = [
    lambda name, seed, before: better(name, seed),
    lambda name, seed, before: better(name, seed, 2.0),
    lambda name, seed, before: 0.9 * better(name, seed) if seed > 2**64 else better(name, seed),  # better elsewhere
]
UNFAIR = {
    "knows the reporting seeds: on ": lambda name, seed, before: better(
        name, seed, 0.4 if seed < 100 and name == "mine" else 0.8
    ),
    "changes with the order of runs: on 'a' its first run": lambda name, seed, before: better(name, seed) + len(before),
    "after others were played": lambda name, seed, before: (
        better(name, seed) * (1 + any(one > 2**64 for one in before))
    ),
    "leaves jobs unserved on 'a'": lambda name, seed, before: np.inf if name == "mine" else 1.0,
    "cost on 'a' that no policy can have": lambda name, seed, before: -1.0 if name == "mine" else 1.0,
    "that no policy can have, 0.5": lambda name, seed, before: 0.5 if name == "mine" else 1.0,
}


@pytest.mark.parametrize("cost", HONEST)
def test_who_knows_nothing_of_seeds_is_taken_with_the_numbers_of_the_reporting_ones(cost, small, entry, monkeypatch):
    on, made = outside.read(entry(), small)
    faked(cost, monkeypatch)
    own = [cost("mine", seed, []) for seed in on.seeds]
    assert fairly(on, made) == [{"cost": own, "p99": own}] * len(on.fields)


@pytest.mark.parametrize(("told", "cost"), UNFAIR.items())
def test_who_is_not_what_it_seems_is_refused(told, cost, small, entry, monkeypatch):
    on, made = outside.read(entry(), small)
    faked(cost, monkeypatch)
    bound = {BOUND: {"scenarios": {name: {"cost": [0.6] * len(on.seeds)} for name in on.fields}}}
    with pytest.raises(BadInput, match=told):
        fairly(on, made, bound)


def test_fresh_seeds_follow_from_the_files_and_are_nobodys(small, entry):
    def seeds(on, **changes):
        return fairness.fresh_seeds(on, outside.entry_of(outside.read_files(entry(**changes)), on))

    on = small["mg1"]
    first = seeds(on)
    assert first == seeds(on) and len(set(first)) == 12
    others = [seeds(on, description="By hand"), seeds(on, code="def policy(job, params):\n    return job.age\n")]
    others += [seeds(replace(on, version=2)), seeds(replace(on, name="other"))]
    everybody = [*first, *itertools.chain(*others)]
    assert len(set(everybody)) == len(everybody) and min(everybody) >= 2**64  # too many to be tried out


@pytest.mark.parametrize("told", [1.0, 0.02])  # the sizes of all jobs, or of those that are worst predicted
def test_a_table_of_the_reporting_seeds_is_refused(told, small, entry, here):
    on, made = outside.read(entry(), small)
    rows = []
    for scenario in on.scenarios.values():
        for seed in on.seeds:
            work, truth = scenario.draw(seed)
            harm = np.argsort(work["predicted"] - truth["sizes"])[: int(told * len(work))]
            rows += zip(work["arrival"][harm].tolist(), truth["sizes"][harm].tolist(), strict=True)
    arrivals, sizes = np.array(sorted(rows)).T.copy()

    def rank(job, params):
        i = np.searchsorted(arrivals, job.arrival)
        known = i < len(arrivals) and arrivals[i] == job.arrival
        return (sizes[i] if known else job.predicted) - job.age

    knows = replace(made, player=Policy("mine", rank, shape="falling"))
    with workers(1) as work, progress(None) as bar:
        kept = {name: play.play_entry(on, named(MG1, name), work, bar) for name in ("fcfs", "sprpt")}
        with pytest.raises(BadInput, match="'mine' knows the reporting seeds"):
            fairness.play_fairly(on, knows, kept, work, bar)


# Agents.


class Alone:
    """Acts on one observation at a time, as a hand-written agent may."""

    def act(self, observation):
        mask, jobs = observation["action_mask"], observation["jobs"]
        assert mask.ndim == 1
        return int(np.where(mask > 0, jobs[:, 1], np.inf).argmin())


@pytest.mark.parametrize(("name", "policy"), [("mg1", "sprpt"), ("dispatch", "least-work"), ("packing", "first-fit")])
def test_an_agent_gets_the_numbers_of_the_policy_that_it_plays(name, policy, small):
    on = small[name]
    view = {"slots": 400} if name != "dispatch" else {}
    for scenario in on.scenarios.values():
        agent = baseline_agent(policy, scenario.env(**view, **on.view))
        by_agent = numbers(scenario, Entry("agent", agent, view=view), on.seeds, on.view)
        by_policy = numbers(scenario, find(on, policy), on.seeds, on.view)
        assert by_agent["cost"] == pytest.approx(by_policy["cost"], rel=1e-3)  # it sees float32


def test_an_agent_that_takes_one_observation_at_a_time(small):
    on = small["mg1"]
    played = numbers(on.scenarios["a"], Entry("alone", Alone(), view={"slots": 64}), on.seeds, on.view)
    # In the preemptive view it serves who is predicted shortest, as pspjf does.
    assert played["cost"] == pytest.approx(
        numbers(on.scenarios["a"], named(MG1, "pspjf"), on.seeds, {})["cost"], rel=0.02
    )


# On disk.


def test_an_outside_policy_is_added_verified_and_shown(small_boards, entry, run, tmp_path):
    where = ("--board", small_boards, "--folder", tmp_path, "--workers", 1)
    for name in ("fcfs", "sprpt"):
        assert run("leaderboard", "run", "--policy", name, *where)[0] == 0
    status, out, _ = run("leaderboard", "add", entry(), *where)
    assert status == 0 and "mine.json" in out
    status, out, _ = run("leaderboard", "verify", "--policy", "mine", *where)
    assert status == 0 and out == "1 of 1 stored results come out again\n"
    on = load_boards(small_boards)["mg1"]
    rows = ranking(on, stored.stored(tmp_path, on))
    assert {row["policy"] for row in rows} == {"fcfs", "sprpt", "mine"}
    assert [one.name for one in stored.added(tmp_path, on)] == ["mine"]


def test_a_run_plays_what_is_missing_and_verify_finds_what_was_changed(small_boards, run, tmp_path):
    where = ("--board", small_boards, "--folder", tmp_path, "--workers", 1, "--policy", "one-bit-lcfs")
    assert "played 2 " in run("leaderboard", "run", *where)[1]  # on the boards mg1 and central
    path = tmp_path / "results" / "mg1" / "one-bit-lcfs.json"
    first = path.read_bytes()
    assert "played 0 " in run("leaderboard", "run", *where)[1]
    assert "played 2 " in run("leaderboard", "run", "--again", *where)[1]
    assert path.read_bytes() == first
    kept = read_json(path)
    kept["scenarios"]["a"]["cost"][1] *= 0.999
    write_json(path, kept)
    status, out, _ = run("leaderboard", "verify", *where)
    assert status == 1 and "mg1/one-bit-lcfs: a: cost is stored as" in out and "1 of 2 stored results" in out


def test_an_agent_stands_among_the_stored_results(small_boards, run, tmp_path, monkeypatch):
    load = pytest.importorskip("llmqueue_gym.integrations.load")
    monkeypatch.setattr(load, "load_agent", lambda path: Alone())
    where = ("--board", small_boards, "--folder", tmp_path, "--workers", 1)
    only = tmp_path / "one.toml"
    text = small_boards.read_text(encoding="utf-8")
    only.write_text(text[: text.index("[boards.central]")], encoding="utf-8")
    where = ("--board", only, "--folder", tmp_path, "--workers", 1)
    for name in ("fcfs", "srpt"):
        run("leaderboard", "run", "--policy", name, *where)
    status, out, _ = run("leaderboard", "run", "--agent", "alone.py", "--view", "slots=64", "--json", *where)
    rows = {row["policy"]: row for row in json.loads(out)["mg1"]}
    assert status == 0 and 0.3 < rows["alone"]["score"]["mean"] < 1 and rows["alone"]["told"] == "prediction"
    assert not (tmp_path / "results" / "mg1" / "alone.json").exists()


def test_an_entry_is_added_once_and_not_replaced_by_another(small, entry, here, tmp_path):
    with workers(1) as work, progress(None) as bar:
        first = stored.add(tmp_path, entry(), work, bar, small).read_bytes()
        assert stored.add(tmp_path, entry(), work, bar, small).read_bytes() == first
        with pytest.raises(BadInput, match=r"'mine': .* has that name; choose another"):
            stored.add(tmp_path, entry("def policy(job, params):\n    return job.age\n"), work, bar, small)
        assert stored.replayed(
            small["mg1"], *stored.added(tmp_path, small["mg1"]), {"mine": {"scenarios": {}}}, work, bar
        )
    (tmp_path / "entries" / "mg1" / "mine").rename(tmp_path / "entries" / "mg1" / "yours")
    with pytest.raises(BadInput, match="a folder has the name of its entry"):
        stored.added(tmp_path, small["mg1"])
    with pytest.raises(BadInput, match=r"mine\.json: a result of nobody"):
        stored.stored(tmp_path, small["mg1"])


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (("run", "--board", "mg2"), "did you mean 'mg1'"),
        (("run", "--board", "mg1", "--policy", "sprtp"), "no policy 'sprtp' on board 'mg1'; did you mean 'sprpt'"),
        (("run", "--policy", "sprtp"), "no policy 'sprtp' on any board; did you mean 'sprpt'"),
        (("verify", "--folder", "nowhere"), "no stored result to check"),
        (("show", "--folder", "nowhere"), "nowhere: no stored results there; give --folder"),
        (("render", "--folder", "nowhere"), "no results to draw"),
        (("add", "nowhere"), "does not exist"),
    ],
)
def test_bad_commands_are_told_in_a_line(args, told, refused, tmp_path, monkeypatch):
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))  # where boards of recorded work are left out
    assert told in refused("leaderboard", *args)


@pytest.mark.parametrize("reward", ["slowdown", "normalised_latency"])
def test_no_board_has_a_reward_that_gives_sizes_away(reward, small_boards, tmp_path):
    with pytest.raises(BadInput, match=f"'{reward}' gives hidden sizes away"):
        agent_entry(lambda path: Alone(), "alone", {"reward": reward})
    file = tmp_path / "mine.toml"
    text = small_boards.read_text(encoding="utf-8")
    file.write_text(text.replace("view = {sees = 2}", f'view = {{reward = "{reward}"}}'), encoding="utf-8")
    with pytest.raises(BadInput, match=f"board 'dispatch': .*'{reward}' gives hidden sizes away"):
        load_boards(file)


# What is stored.


def spoilt(change):
    """Return a result of three policies, one of them changed."""
    rows = {}
    for name in ("fcfs", "sprpt", BOUND):
        said = {"told": "nothing", "learned": False, "description": "", "command": ""} if name != BOUND else {}
        scenarios = {key: {"cost": [2.0, 2.0, 2.0] if name != BOUND else [1.0] * 3} for key in ("a", "b")}
        rows[name] = {"policy": name, "board": "mg1", "version": 1, "seeds": [0, 1, 2], **said, "scenarios": scenarios}
    change(rows["sprpt"])
    return rows


SPOILT = {
    "a cost is not positive": lambda row: row["scenarios"]["a"].update(cost=[2.0, -1.0, 2.0]),
    "no list of 3 numbers": lambda row: row["scenarios"]["a"].update(cost=[2.0, None, 2.0]),
    "p99 is no list of 3": lambda row: row["scenarios"]["a"].update(p99=[1.0]),
    "below the bound": lambda row: row["scenarios"]["b"].update(cost=[0.5, 2.0, 2.0]),
    "told='<img>'": lambda row: row.update(told="<img>"),
    "learned=1": lambda row: row.update(learned=1),
    "description=5": lambda row: row.update(description=5),
    "'command'": lambda row: row.pop("command"),
    "another policy, board or seeds": lambda row: row.update(policy="fcfs"),
    "another policy, board or": lambda row: row.update(seeds=[0, 1]),
    "'cost'": lambda row: row["scenarios"].update(a={}),
    "not a result of this board": lambda row: row.update(scenarios=[]),
    "other scenarios": lambda row: row["scenarios"].pop("b"),
}


@pytest.mark.parametrize(("told", "change"), SPOILT.items())
def test_a_result_that_cannot_be_is_not_read(told, change, small, tmp_path):
    for row in spoilt(lambda row: None).values():
        stored.store(tmp_path, row)
    assert set(stored.stored(tmp_path, small["mg1"])) == {"fcfs", "sprpt", BOUND}
    write_json(tmp_path / "results" / "mg1" / "sprpt.json", spoilt(change)["sprpt"])
    with pytest.raises(BadInput, match=r"sprpt\.json: ") as error:
        stored.stored(tmp_path, small["mg1"])
    assert told in str(error.value) and "\n" not in str(error.value)


def test_a_result_of_another_name_is_not_read(small, tmp_path):
    row = spoilt(lambda row: row.update(policy="\x1b[2J"))["sprpt"]
    (tmp_path / "entries" / "mg1" / "\x1b[2J").mkdir(parents=True)
    stored.store(tmp_path, row)
    with pytest.raises(BadInput, match="not a result of this board"):
        stored.stored(tmp_path, small["mg1"])


@pytest.mark.parametrize("on", FROZEN, ids=lambda on: on.name)
def test_every_registered_policy_has_a_stored_result(on):
    kept, players = stored.stored(STORED, on), [*registered(on), *stored.added(STORED, on)]
    assert set(kept) == {player.name for player in players} | {BOUND}
    for player in players:
        assert (kept[player.name]["told"], kept[player.name]["learned"]) == (player.told, player.learned)
        assert misfit(player.player, on) is None


@pytest.mark.parametrize("on", FROZEN, ids=lambda on: on.name)
def test_a_stored_run_comes_out_again(on):
    """One run of two policies of each board; `llmqueue leaderboard verify` plays them all."""
    if on.missing:
        pytest.skip(f"{', '.join(on.missing)} not at hand")
    kept, more = stored.stored(STORED, on), (on.view, (), on.measured, on.objectives)
    name, scenario = next(iter(on.scenarios.items()))
    for policy in {on.base, sorted(kept)[-1]}:
        for metric, (value,) in numbers(scenario, find(on, policy), on.seeds[:1], *more).items():
            assert kept[policy]["scenarios"][name][metric][0] == pytest.approx(value, rel=1e-9)


def test_the_page_of_the_leaderboard_shows_what_is_stored(tmp_path):
    """Byte for byte: the tables are a function of the result files."""
    copy = tmp_path / "leaderboard.md"
    copy.write_bytes(PAGE.read_bytes())
    put_tables(copy, [Ranked(on, stored.stored(STORED, on)) for on in FROZEN])
    assert copy.read_bytes() == PAGE.read_bytes()


def test_a_plain_policy_object_is_an_entry_too(small):
    def rank(job, params):
        return job.predicted

    made = Policy("mine", rank, shape="constant")
    assert numbers(small["mg1"].scenarios["a"], Entry("mine", made), [0], {}) == numbers(
        small["mg1"].scenarios["a"], named(MG1, "pspjf"), [0], {}
    )
