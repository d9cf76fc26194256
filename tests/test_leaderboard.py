"""The leaderboard: bounds that hold, entries that are refused with the reason, results that come out again."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from llmqueue_gym.cli import main
from llmqueue_gym.errors import BadInput, TruthError
from llmqueue_gym.evaluation.bench.crew import gathered, progress
from llmqueue_gym.evaluation.cluster import ClusterScenario
from llmqueue_gym.evaluation.results import read_json, write_json
from llmqueue_gym.evaluation.scenario import Scenario
from llmqueue_gym.evaluation.server_needs import NeedsScenario
from llmqueue_gym.leaderboard import BOARDS, entries, registered, site
from llmqueue_gym.leaderboard import run as play
from llmqueue_gym.leaderboard.arenas import (
    CentralArena,
    DispatchArena,
    ImpatientArena,
    PackingArena,
    QueueArena,
    ServingArena,
)
from llmqueue_gym.leaderboard.table import markdown, table

CARD = {"name": "mine", "board": "mg1", "description": "by hand", "command": "written by hand"}
GOOD = "def policy(job, params):\n    return job.predicted - 0.5 * job.age\n"
SMALL = {
    "mg1": (QueueArena("a", Scenario(n_jobs=1500)), QueueArena("b", Scenario("weibull:shape=0.5", n_jobs=1500))),
    "central": (CentralArena("a", ClusterScenario(servers=3, n_jobs=1500)),),
    "dispatch": (DispatchArena("a", ClusterScenario(servers=5, n_jobs=1500), "sprpt"),),
    "impatient": (ImpatientArena("a", ClusterScenario(load=1.4, servers=3, patience="exponential", n_jobs=1500)),),
    "packing": (PackingArena("a", NeedsScenario(load=0.5, n_jobs=1500)),),
    "llm": (ServingArena("a", "lognormal:prompt=128,output=32", "lognormal:sigma=0.5", "a100-llama3-8b", 20.0, 200),),
}


@pytest.fixture
def small(monkeypatch):
    """Boards of the same names with little to play."""
    for name, arenas in SMALL.items():
        monkeypatch.setitem(BOARDS, name, replace(BOARDS[name], arenas=arenas, seeds=(0, 1, 2)))


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


@pytest.fixture
def run(capsys):
    def call(*args):
        with pytest.raises(SystemExit) as ended:
            main(["leaderboard", *map(str, args)])
        return ended.value.code, *capsys.readouterr()

    return call


def played(name, players):
    """Return results by policy, the bound among them."""
    on = BOARDS[name]
    with gathered(1) as crew, progress(None) as bar:
        found = {player: play.play_entry(play.find(on, player), crew, bar) for player in players}
        return {**found, play.BOUND: play.bounds(on, crew, bar)}


# Boards.


@pytest.mark.parametrize("name", list(BOARDS))
def test_every_board_has_its_base_and_names_that_differ(name):
    on = BOARDS[name]
    names = [player.name for player in registered(on)]
    assert on.base in names and len(names) == len(set(names))
    arenas = [arena.name for arena in on.arenas]
    assert len(set(arenas)) == len(arenas) >= 3 and len(on.seeds) >= 6
    assert max(on.seeds) < 1_000_000  # training draws from there on


@pytest.mark.parametrize("name", list(SMALL))
def test_nobody_undercuts_the_bound(name, small):
    on = BOARDS[name]
    for arena in on.arenas:
        for player in registered(on):
            for seed in on.seeds:
                cost = arena.play(player.policy, seed)["cost"]
                assert cost >= arena.bound(seed) * (1 - 1e-9), (player.name, seed)


def test_what_a_policy_is_told():
    told = {player.name: player.sees for player in registered(BOARDS["mg1"])}
    assert told["fcfs"] == "nothing" and told["sprpt"] == "prediction" and told["srpt"] == "truth"
    assert {p.name: p.sees for p in registered(BOARDS["llm"])}["srpt"] == "truth"


# Tables.


def test_the_score_of_the_base_is_0_and_of_the_bound_1(small):
    results = played("mg1", ("fcfs", "sprpt", "srpt", "lcfs"))
    rows = {row["policy"]: row for row in table(BOARDS["mg1"], results)}
    assert rows["fcfs"]["score"]["mean"] == 0 and rows["srpt"]["score"]["mean"] == pytest.approx(1)
    assert 0 < rows["sprpt"]["score"]["low"] < rows["sprpt"]["score"]["mean"] < 1
    assert rows["sprpt"]["better"] == 0.5  # it is the best that was made by hand
    assert list(rows)[-1] == "srpt"  # told the truth, so it stands apart


def test_a_table_needs_base_and_bound(small):
    results = played("mg1", ("fcfs", "sprpt"))
    for missing in ("fcfs", play.BOUND):
        fewer = {name: row for name, row in results.items() if name != missing}
        with pytest.raises(BadInput, match=f"no result of '{missing}'"):
            table(BOARDS["mg1"], fewer)


def test_results_of_other_scenarios_are_refused(small):
    results = played("mg1", ("fcfs", "sprpt"))
    del results["sprpt"]["arenas"]["b"]
    with pytest.raises(BadInput, match="'sprpt' is not of the scenarios of board 'mg1'"):
        table(BOARDS["mg1"], results)


def test_the_table_does_not_depend_on_the_order_of_results(small):
    results = played("mg1", ("fcfs", "sprpt", "spjf"))
    backwards = dict(reversed(results.items()))
    assert markdown(BOARDS["mg1"], table(BOARDS["mg1"], results)) == markdown(
        BOARDS["mg1"], table(BOARDS["mg1"], backwards)
    )


# Entries.


def test_an_outside_policy_is_added_verified_and_shown(small, entry, run, tmp_path):
    board = tmp_path / "board"
    where = ("--folder", board, "--workers", 1)
    for name in ("fcfs", "sprpt"):
        assert run("run", "--board", "mg1", "--policy", name, *where)[0] == 0
    status, out, _ = run("add", entry(), *where)
    assert status == 0 and "mine.json" in out
    status, out, _ = run("show", "--board", "mg1", "--folder", board, "--json")
    assert status == 0
    assert {row["policy"] for row in json.loads(out)["mg1"]} == {"fcfs", "sprpt", "mine"}
    status, out, _ = run("verify", "--board", "mg1", *where)
    assert status == 0 and out == "4 of 4 stored results come out again\n"


def test_a_result_that_was_tampered_with_is_found(small, entry, run, tmp_path):
    board = tmp_path / "board"
    where = ("--folder", board, "--workers", 1)
    run("run", "--board", "mg1", "--policy", "sprpt", *where)
    path = board / "results" / "mg1" / "sprpt.json"
    kept = read_json(path)
    kept["arenas"]["a"]["cost"][1] *= 0.999
    write_json(path, kept)
    status, out, _ = run("verify", "--board", "mg1", *where)
    assert status == 1 and "mg1/sprpt: a: cost is stored as" in out and "1 of 2 stored results" in out


def test_a_run_plays_only_what_is_missing(small, run, tmp_path):
    where = ("--folder", tmp_path, "--workers", 1, "--board", "mg1", "--policy", "sprpt")
    assert "played 1 " in run("run", *where)[1]
    first = (tmp_path / "results" / "mg1" / "sprpt.json").read_bytes()
    assert "played 0 " in run("run", *where)[1]
    assert "played 1 " in run("run", "--again", *where)[1]
    assert (tmp_path / "results" / "mg1" / "sprpt.json").read_bytes() == first


def test_an_entry_for_dispatch(small, entry):
    code = "def policy(job, queue, params):\n    return queue.jobs + 0.1 * queue.work\n"
    made = entries.read(entry(code, board="dispatch"))
    assert made.policy.d == 2 and BOARDS["dispatch"].arenas[0].play(made.policy, 0)["cost"] > 0
    assert made.sees == "prediction"  # by the queue's work


def test_an_entry_may_not_bring_better_predictions(entry):
    code = "from llmqueue_gym.policies import Policy\ndef rank(job, params):\n    return job.predicted - job.age\n"
    for told, words in (("lognormal:sigma=0.001", "brings its own"), ("none", "brings its own")):
        with pytest.raises(BadInput, match=words):
            entries.read(entry(f"{code}policy = Policy('x', rank, predictor='{told}')\n"))
    assert entries.read(entry(f"{code}policy = Policy('x', rank, predictor='exact')\n")).sees == "truth"


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("def policy(job, params):\n    return job.size\n", "true sizes are hidden"),
        ("def policy(job, params):\n    return job['size'] - job.age\n", "true sizes are hidden"),
    ],
)
def test_an_entry_that_reads_the_truth_is_refused(code, told, entry):
    with pytest.raises(TruthError, match=told):
        entries.read(entry(code))


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("import os\n" + GOOD, "line 1: imports 'os'"),
        ("from llmqueue_gym.leaderboard import BOARDS\n" + GOOD, "hidden sizes, seeds or files"),
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


def test_an_entry_that_changes_with_the_order_of_runs_is_refused(small, entry):
    made = entries.read(entry())
    calls = iter(range(1000))

    class Moody(QueueArena):
        def play(self, policy, seed):
            return {"cost": float(next(calls))}

    moody = replace(made, board=replace(made.board, arenas=(Moody("a", Scenario(n_jobs=10)),)))
    with pytest.raises(BadInput, match="'mine' changes with the order of runs"):
        play.check(moody)
    play.check(made)


def test_an_entry_that_knows_the_reporting_seeds_is_refused(small, entry):
    """Sizes of the reporting seeds, looked up by arrival: a clairvoyant there and nowhere else."""
    known = []
    for arena in BOARDS["mg1"].arenas:
        for seed in BOARDS["mg1"].seeds:
            jobs, sizes = arena.scenario.draw(None, seed)
            known += zip(jobs["arrival"].tolist(), sizes.tolist(), strict=True)
    arrivals, sizes = np.array(sorted(known)).T
    code = (
        "import numpy as np\nfrom llmqueue_gym.policies import Policy\n"
        f"ARRIVALS = np.array({arrivals.tolist()})\nSIZES = np.array({sizes.tolist()})\n"
        "def rank(job, params):\n"
        "    i = np.searchsorted(ARRIVALS, job.arrival)\n"
        "    return SIZES[min(i, len(SIZES) - 1)] - job.age\n"
        "policy = Policy('x', rank, shape='falling')\n"
    )
    made = entries.read(entry(code))
    with gathered(1) as crew, progress(None) as bar:
        played = [
            {"cost": [arena.play(made.policy, seed)["cost"] for seed in made.board.seeds]}
            for arena in made.board.arenas
        ]
        with pytest.raises(BadInput, match="'mine' knows the reporting seeds"):
            play.check_seeds(made, played, crew, bar)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"command": None}, "'command' is missing"),
        ({"command": "  "}, "'command' is missing"),
        ({"board": "mg2"}, "unknown board 'mg2'; did you mean 'mg1'"),
        ({"name": "../x"}, "must be letters, digits"),
        ({"name": None}, "'name' is missing"),
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


def test_a_name_that_is_taken(small, entry, tmp_path):
    with gathered(1) as crew, progress(None) as bar, pytest.raises(BadInput, match="has a policy of that name"):
        play.add(tmp_path, entry(name="sprpt"), crew, bar)


def test_bad_commands_are_told_in_a_line(run, tmp_path):
    for args, told in (
        (("run", "--board", "mg2"), "did you mean 'mg1'"),
        (("run", "--board", "mg1", "--policy", "sprtp"), "no policy 'sprtp' on board 'mg1'; did you mean 'sprpt'"),
        (("verify", "--folder", tmp_path), "no stored result to check"),
        (("show", "--folder", tmp_path), "no result of '_bound'"),
        (("add", tmp_path / "no"), "does not exist"),
    ):
        status, out, err = run(*args)
        assert (status, out) == (2, "") and told in err and err.count("\n") == 1, (args, err)


def test_stored_numbers_are_finite_or_late(small):
    for name in SMALL:
        for player in played(name, (BOARDS[name].base,)).values():
            for numbers in player["arenas"].values():
                assert not any(np.isnan(values).any() for values in numbers.values())


# What is stored.

STORED = Path(__file__).parents[1] / "experiments" / "leaderboard"
README = Path(__file__).parents[1] / "README.md"


@pytest.mark.parametrize("name", list(BOARDS))
def test_every_registered_policy_has_a_stored_result(name):
    on = BOARDS[name]
    kept = play.stored(STORED, on)
    players = {player.name for player in [*registered(on), *play.folders(STORED, on)]}
    assert set(kept) == players | {play.BOUND}
    for player in registered(on):
        assert (kept[player.name]["sees"], kept[player.name]["learned"]) == (player.sees, player.learned)


def test_the_readme_shows_what_is_stored(tmp_path):
    """Byte for byte: the tables are a function of the result files."""
    copy = tmp_path / "README.md"
    copy.write_bytes(README.read_bytes())
    tables = [site.Ranked(on, table(on, play.stored(STORED, on)), "") for on in BOARDS.values()]
    site.put_tables(copy, tables)
    assert copy.read_bytes() == README.read_bytes()


@pytest.mark.parametrize("name", list(BOARDS))
def test_a_stored_run_comes_out_again(name):
    """One run of each board, of the base; `llmqueue leaderboard verify` plays them all."""
    on = BOARDS[name]
    kept = play.stored(STORED, on)[on.base]
    again = on.arenas[0].play(play.find(on, on.base).policy, on.seeds[0])
    for metric, value in again.items():
        assert kept["arenas"][on.arenas[0].name][metric][0] == pytest.approx(value, rel=1e-9)
