"""Entries: what each is told, who is refused and why, agents, and results that come out again."""

import json
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from llmqueue_gym.boards import board, boards, load_boards, registered, stored
from llmqueue_gym.boards import entry as entries
from llmqueue_gym.boards.entry import Entry, find, misfit, named
from llmqueue_gym.boards.page import put_tables
from llmqueue_gym.boards.play import BOUND, numbers
from llmqueue_gym.boards.ranked import Ranked
from llmqueue_gym.boards.standings import ranking
from llmqueue_gym.boards.workers import progress, workers
from llmqueue_gym.envs.opened import baseline_agent
from llmqueue_gym.errors import BadInput, TruthError
from llmqueue_gym.evaluation.results import read_json, write_json
from llmqueue_gym.policies import Policy
from llmqueue_gym.systems.mg1 import MG1

CARD = {"name": "mine", "board": "mg1", "description": "by hand", "command": "written by hand"}
GOOD = "def policy(job, params):\n    return job.predicted - 0.5 * job.age\n"
FROZEN = [on for on in boards().values() if on.stored]
ROOT = Path(__file__).parents[1]
STORED, README = ROOT / "experiments" / "leaderboard", ROOT / "README.md"


@pytest.fixture
def small(small_boards):
    return load_boards(small_boards)


@pytest.fixture
def entry(tmp_path):
    """Write the folder of an entry."""

    def write(code=GOOD, **changes):
        folder = tmp_path / "entry"
        folder.mkdir(exist_ok=True)
        card = {key: value for key, value in {**CARD, **changes}.items() if value is not None}
        (folder / "card.json").write_text(json.dumps(card))
        if code is not None:
            (folder / "policy.py").write_text(code)
        return folder

    return write


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
        (  # the predictions are read in another function, and under another name
            "def long(line):\n    return line.left / line.speed\n"
            "def policy(job, queue, params):\n    return queue.jobs + 0.1 * long(queue)\n",
            "prediction",
        ),
        (
            "def total(j, q):\n    return j.predicted + q.jobs\n"
            "def policy(job, queue, params):\n    return total(job, queue)\n",
            "prediction",
        ),
    ],
)
def test_a_dispatcher_is_told_what_its_helpers_read(code, told, entry, small):
    on, made = entries.read(entry(code, board="dispatch"), small)
    assert made.told == told and made.player.d == 2
    assert numbers(on.scenarios["a"], made, [0], on.view)["cost"][0] > 0


def test_an_entry_travels_to_other_processes(entry, small):
    for one in (named(MG1, "srpt"), entries.read(entry(), small)[1]):
        again = pickle.loads(pickle.dumps(one))
        assert (again.name, again.told) == (one.name, one.told)
        scenario = small["mg1"].scenarios["a"]
        assert numbers(scenario, again, [1], {}) == numbers(scenario, one, [1], {})


# Who is refused.


def test_an_entry_may_not_bring_better_predictions(entry):
    code = "from llmqueue_gym.policies import Policy\ndef rank(job, params):\n    return job.predicted - job.age\n"
    for predictor in ("lognormal:sigma=0.001", "none"):
        with pytest.raises(BadInput, match="brings its own"):
            entries.read(entry(f"{code}policy = Policy('x', rank, predictor='{predictor}')\n"))
    assert entries.read(entry(f"{code}policy = Policy('x', rank, predictor='exact')\n"))[1].told == "truth"


@pytest.mark.parametrize("read", ["job.size", "job['size'] - job.age"])
def test_an_entry_that_reads_the_truth_is_refused(read, entry):
    with pytest.raises(TruthError, match="true sizes are hidden"):
        entries.read(entry(f"def policy(job, params):\n    return {read}\n"))


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("import os\n" + GOOD, "line 1: imports 'os'"),
        ("from llmqueue_gym.boards import boards\n" + GOOD, "hidden sizes, seeds or files"),
        ("from llmqueue_gym.policies.learned.artefact import os\n" + GOOD, "imports os from"),
        ("import llmqueue_gym\n" + GOOD, "imports 'llmqueue_gym'"),
        ("import numpy as np\nx = np.lib.format\n" + GOOD, "line 2: 'lib'"),
        ("import numpy as np\nsizes = np.load('truth.npy')\n" + GOOD, "line 2: 'load'"),
        ("sizes = open('truth.txt')\n" + GOOD, "line 1: 'open' reaches beyond"),
        ("x = (1).__class__\n" + GOOD, "'__class__' reaches beyond"),
        ("import numpy as np\nx = np.random.rand()\n" + GOOD, "without chance and files"),
        ("from math import\n", "line 1: "),
        ("rank = 1\n", "defines no `policy`"),
        ("policy = 1 / 0\n", "ZeroDivisionError"),
        ("policy = 5\n", "not a policy"),
    ],
)
def test_a_file_that_could_cheat_or_is_none_is_refused(code, told, entry):
    with pytest.raises(BadInput, match=told) as error:
        entries.read(entry(code))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"command": None}, "'command' is missing"),
        ({"command": "  "}, "'command' is missing"),
        ({"board": "mg2"}, "unknown board 'mg2'; did you mean 'mg1'"),
        ({"name": "../x"}, "must be letters, digits"),
        ({"name": None}, "'name' is missing"),
        ({"board": "impatient"}, "preemptive=False"),
    ],
)
def test_cards(changes, told, entry):
    with pytest.raises(BadInput, match=told):
        entries.read(entry(**changes))


def test_a_folder_without_a_policy_or_a_card(entry, tmp_path):
    with pytest.raises(BadInput, match=r"neither policy\.py nor policy\.npz"):
        entries.read(entry(code=None))
    with pytest.raises(BadInput, match="no such file; an entry is a folder"):
        entries.read(tmp_path / "nothing")


class Moody(MG1):
    """Gives other numbers each time."""

    calls = iter(range(1000))

    def numbers(self, run):
        return {"cost": float(next(self.calls)), "p99": 1.0}


def test_an_entry_that_changes_with_the_order_of_runs_is_refused(small):
    one, on = named(MG1, "sprpt"), small["mg1"]
    stored.check_order(on, one)
    moody = replace(on)
    moody.__dict__["scenarios"] = {"a": replace(on.scenarios["a"], system=Moody())}
    with pytest.raises(BadInput, match="'sprpt' changes with the order of runs: on 'a' seed 0"):
        stored.check_order(moody, one)


def test_an_entry_that_knows_the_reporting_seeds_is_refused(small, entry):
    """Sizes of the reporting seeds, looked up by arrival: a clairvoyant there and nowhere else."""
    on, found = small["mg1"], []
    for scenario in on.scenarios.values():
        for seed in on.seeds:
            work, truth = scenario.draw(seed)
            found += zip(work["arrival"].tolist(), truth["sizes"].tolist(), strict=True)
    arrivals, sizes = np.array(sorted(found)).T
    code = (
        "import numpy as np\nfrom llmqueue_gym.policies import Policy\n"
        f"ARRIVALS = np.array({arrivals.tolist()})\nSIZES = np.array({sizes.tolist()})\n"
        "def rank(job, params):\n"
        "    i = np.searchsorted(ARRIVALS, job.arrival)\n"
        "    return SIZES[min(i, len(SIZES) - 1)] - job.age\n"
        "policy = Policy('x', rank, shape='falling')\n"
    )
    _, made = entries.read(entry(code), small)
    played = [numbers(scenario, made, on.seeds, on.view) for scenario in on.scenarios.values()]
    with workers(1) as work, progress(None) as bar, pytest.raises(BadInput, match="'mine' knows the reporting seeds"):
        stored.check_seeds(on, made, played, work, bar)


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


def test_a_name_that_is_taken(small, entry, tmp_path):
    with workers(1) as work, progress(None) as bar, pytest.raises(BadInput, match="has a policy of that name"):
        stored.add(tmp_path, entry(name="sprpt"), work, bar, small)


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (("run", "--board", "mg2"), "did you mean 'mg1'"),
        (("run", "--board", "mg1", "--policy", "sprtp"), "no policy 'sprtp' on board 'mg1'; did you mean 'sprpt'"),
        (("verify", "--folder", "nowhere"), "no stored result to check"),
        (("show", "--folder", "nowhere"), "no result of '_bound'"),
        (("render", "--folder", "nowhere"), "no results to draw"),
        (("add", "nowhere"), "does not exist"),
    ],
)
def test_bad_commands_are_told_in_a_line(args, told, refused):
    assert told in refused("leaderboard", *args)


# What is stored.


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
    kept = stored.stored(STORED, on)
    name, scenario = next(iter(on.scenarios.items()))
    for policy in {on.base, sorted(kept)[-1]}:
        for metric, (value,) in numbers(scenario, find(on, policy), on.seeds[:1], on.view).items():
            assert kept[policy]["scenarios"][name][metric][0] == pytest.approx(value, rel=1e-9)


def test_the_readme_shows_what_is_stored(tmp_path):
    """Byte for byte: the tables are a function of the result files."""
    copy = tmp_path / "README.md"
    copy.write_bytes(README.read_bytes())
    put_tables(copy, [Ranked(on, stored.stored(STORED, on)) for on in FROZEN])
    assert copy.read_bytes() == README.read_bytes()


def test_a_plain_policy_object_is_an_entry_too(small):
    def rank(job, params):
        return job.predicted

    made = Policy("mine", rank, shape="constant")
    assert numbers(small["mg1"].scenarios["a"], Entry("mine", made), [0], {}) == numbers(
        small["mg1"].scenarios["a"], named(MG1, "pspjf"), [0], {}
    )
