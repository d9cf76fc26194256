"""The page of boards: the same bytes, nothing from outside, and in a real browser what it promises to do."""

import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
from browsing import chromium

from llmqueue_gym.boards import load_boards, registered
from llmqueue_gym.boards.page import page, put_tables
from llmqueue_gym.boards.ranked import Ranked
from llmqueue_gym.boards.recordings import record
from llmqueue_gym.boards.site import cards
from llmqueue_gym.boards.standings import ranking
from llmqueue_gym.boards.stored import stored
from llmqueue_gym.cli import main
from llmqueue_gym.errors import BadInput

PLAYED = {
    "mg1": ("fcfs", "sprpt", "spjf", "las", "srpt"),
    "central": ("fcfs", "sprpt", "srpt"),
    "dispatch": ("random", "power-of-d"),
    "impatient": ("fcfs", "edf"),
    "packing": ("fcfs", "first-fit"),
    "llm": ("fcfs", "sjf", "las", "srpt"),
}
EPISODES = ("mg1", "central", "llm")
CARD = {
    "name": "mine",
    "board": "mg1",
    "description": "trained by hand </script><!-- & so on",
    "command": "python train.py",
    "learned": True,
    "cost": {"seconds": 20.0, "jobs": 9000},
    "curve": [[5.0, 0.4], [20.0, 0.8]],
}


@pytest.fixture(scope="module")
def small(small_boards):
    return load_boards(small_boards)


@pytest.fixture(scope="module")
def call(small_boards):
    def called(command, *args):
        with pytest.raises(SystemExit) as ended:
            main(["leaderboard", command, "--board", str(small_boards), *map(str, args)])
        return ended.value.code

    return called


@pytest.fixture(scope="module")
def folder(call, tmp_path_factory):
    """Results of some policies on every board, and of an entry that was trained."""
    top = tmp_path_factory.mktemp("leaderboard")
    for name in sorted({name for names in PLAYED.values() for name in names}):
        assert call("run", "--policy", name, "--folder", top, "--workers", 1) == 0
    for board, names in PLAYED.items():
        for path in (top / "results" / board).glob("*.json"):
            if path.stem not in (*names, "_bound"):
                path.unlink()
    entry = tmp_path_factory.mktemp("entry")
    (entry / "card.json").write_text(json.dumps(CARD))
    (entry / "policy.py").write_text("def policy(job, params):\n    return job.predicted - 0.7 * job.age\n")
    assert call("add", entry, "--folder", top, "--workers", 1) == 0
    return top


@pytest.fixture(scope="module")
def out(call, folder, tmp_path_factory):
    where = tmp_path_factory.mktemp("site")
    readme = where / "README.md"
    readme.write_text("before\n<!-- leaderboard -->\nstale\n<!-- /leaderboard -->\nafter\n")
    assert call("render", "--folder", folder, "--out", where, "--readme", readme) == 0
    return where / "index.html"


@pytest.fixture(scope="module")
def data(out):
    text = out.read_text(encoding="utf-8")
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)[1])


# The file.


def test_rendering_twice_gives_the_same_bytes(call, folder, out, tmp_path):
    assert call("render", "--folder", folder, "--out", tmp_path) == 0
    assert (tmp_path / "index.html").read_bytes() == out.read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["index.html"]


def test_every_board_and_policy_is_there(out, data):
    text = out.read_text(encoding="utf-8")
    assert list(data) == list(PLAYED) == re.findall(r'<section class="board" id="([\w-]+)"', text)
    for name, names in PLAYED.items():
        assert {row["policy"] for row in data[name]["rows"]} - {"mine"} == set(names)
        assert f'href="#{name}"' in text
    assert all(f'data-policy="{name}"' in text for names in PLAYED.values() for name in names)
    assert {name for name in data if data[name]["episode"]} == set(EPISODES)
    assert len(text.encode()) < 2.5e6


def test_nothing_comes_from_outside(out):
    text = out.read_text(encoding="utf-8")
    assert not re.search(r"<link|<img|<iframe|\bsrc=|@import|@font-face|\bfetch\(|XMLHttpRequest|import\(", text)
    assert all(target.startswith("#") for target in re.findall(r'href="([^"]*)"', text))
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", text))
    assert "http:" not in text and "https:" not in text


def test_words_of_an_entry_cannot_end_the_script(out, data):
    assert data["mg1"]["rows"][0]["policy"] and CARD["description"] in {r["description"] for r in data["mg1"]["rows"]}
    text = out.read_text(encoding="utf-8")
    assert text.count("</script>") == 2 and "<!--" not in text


def test_whatever_a_result_says_is_text(small):
    """Results are checked as they are read; were one to pass, its words would still be words."""
    bad, on = "<img src=x onerror=alert(1)>\"'", small["mg1"]
    numbers = {name: {"cost": [2.0, 2.2, 2.4], "p99": [1.0, 1.0, 1.0]} for name in on.fields}
    said = {"told": bad, "learned": True, "description": bad, "command": bad, "scenarios": numbers}
    row = {"policy": bad, **said}
    bound = {"policy": "_bound", "scenarios": {name: {"cost": [1.0, 1.0, 1.0]} for name in on.fields}}
    hand = {**said, "policy": "sprpt", "told": "prediction", "learned": False}
    found = Ranked(
        replace(on, title=bad, short=bad, heading=bad),
        {bad: row, "_bound": bound, "fcfs": {**hand, "policy": "fcfs"}, "sprpt": hand},
        checks=[{"scenario": bad, "policy": bad, "metric": bad, "kind": bad, "source": bad}
                | dict.fromkeys(("value", "mean", "low", "high"), 1.0)],
        warnings=[bad],
        curves=[{"policy": bad, "across": bad, "up": bad, "points": [[0.0, 1.0]]}],
    )  # fmt: skip
    text = page([found], bad, bad, {bad: [bad]})
    assert "<img" not in text and text.count("&lt;img") > 20 and 'onerror=alert(1)>"' not in text


def test_the_page_shows_the_numbers_of_the_ranking(folder, data, small):
    on = small["mg1"]
    rows = ranking(on, stored(folder, on))
    assert [row["policy"] for row in data["mg1"]["rows"]] == [row["policy"] for row in rows]
    for shown, row in zip(data["mg1"]["rows"], rows, strict=True):
        assert shown["score"] == pytest.approx(row["score"], rel=1e-5, abs=1e-9)
        assert shown["scenarios"][1][0] == pytest.approx(row["scenarios"][1]["cost"]["mean"], rel=1e-5)
        assert shown["scenarios"][1][5] == pytest.approx(
            row["scenarios"][1]["ahead_of_best"]["mean"], rel=1e-5, abs=1e-9
        )


def test_learning_curves_come_from_cards(data):
    curves = [curve for curve in data["mg1"]["curves"] if curve["policy"] == "mine"]
    assert curves == [{"policy": "mine", "across": "seconds", "up": "score", "points": CARD["curve"]}]


def test_entries_of_one_name_on_two_boards_have_curves_of_their_own(small, tmp_path):
    for board, curve in (("mg1", [[5.0, 0.4]]), ("central", [[6.0, 0.5]])):
        entry = tmp_path / "entries" / board / "mine"
        entry.mkdir(parents=True)
        (entry / "card.json").write_text(json.dumps({**CARD, "board": board, "curve": curve}))
        (entry / "policy.py").write_text("def policy(job, params):\n    return job.predicted\n")
    assert cards(tmp_path, small["mg1"])["mine"]["curve"] == [[5.0, 0.4]]
    assert cards(tmp_path, small["central"])["mine"]["curve"] == [[6.0, 0.5]]
    assert "mine" not in cards(tmp_path, small["packing"])


# Episodes.


@pytest.mark.parametrize("name", list(EPISODES))
def test_an_episode_is_the_same_jobs_served_in_full(name, small):
    chosen = [player for player in registered(small[name]) if player.name in PLAYED[name]]
    found = record(small[name], chosen)
    assert set(found["runs"]) == set(PLAYED[name]) and not found["left_out"]
    arrival, size = np.array(found["jobs"]["arrival"]), np.array(found["jobs"]["size"])
    for run in found["runs"].values():
        segments, done = np.array(run["segments"]), np.array(run["done"])
        assert name == "llm" or segments[:, 1].max() < {"mg1": 1, "central": 4}[name]
        for lane in range(segments[:, 1].max() + 1):
            times = segments[segments[:, 1] == lane, 2:]
            assert (times[1:, 0] >= times[:-1, 1] - 1).all()  # nobody shares a lane, but for rounding
        for job in range(len(size)):
            own = segments[segments[:, 0] == job]
            assert own[0, 2] >= arrival[job] and own[-1, 3] == done[job]
            if name != "llm":
                assert (own[:, 3] - own[:, 2]).sum() == pytest.approx(size[job], abs=len(own) + 1)


def test_a_recorded_queue_obeys_lindley(small):
    fcfs = [player for player in registered(small["mg1"]) if player.name == "fcfs"]
    found = record(small["mg1"], fcfs)
    free, done = 0, []
    for arrival, size in zip(found["jobs"]["arrival"], found["jobs"]["size"], strict=True):
        free = max(free, arrival) + size
        done.append(free)
    assert found["runs"]["fcfs"]["done"] == pytest.approx(done, abs=60)  # ms; each job rounds by one at most


def test_a_recorded_batch_computes_every_token(small):
    chosen = [player for player in registered(small["llm"]) if player.name in ("fcfs", "las")]
    found = record(small["llm"], chosen)
    prompt, output = np.array(found["jobs"]["prompt"]), np.array(found["jobs"]["size"])
    for run in found["runs"].values():
        assert min(run["used"]) >= 0 and max(run["used"]) <= found["blocks"] and len(run["used"]) == len(run["steps"])
        last = {}
        for segment, (_, before, *runs) in zip(run["segments"], run["tokens"], strict=True):
            last[segment[0]] = before + sum(np.multiply(runs[::2], runs[1::2]))
        assert [last[job] for job in range(len(prompt))] == (prompt + output - 1).tolist()
    assert len(found["runs"]["las"]["segments"]) > len(prompt)  # memory runs out


# Command line.


def test_readme_block(out):
    readme = out.with_name("README.md")
    text = readme.read_text()
    assert text.startswith("before\n<!-- leaderboard -->\n| One server")
    assert text.endswith("\n<!-- /leaderboard -->\nafter\n")
    assert "stale" not in text and text.count("\n|---|") == len(PLAYED) and "**mine**" in text
    readme.write_text("nothing\n")
    with pytest.raises(BadInput, match="0 places for the tables"):
        put_tables(readme, [])
    assert readme.read_text() == "nothing\n"


def test_boards_without_results_are_left_out(call, folder, tmp_path, capsys):
    shutil.copytree(folder / "results" / "central", tmp_path / "results" / "central")
    assert call("render", "--folder", tmp_path, "--out", tmp_path / "site") == 0
    told = capsys.readouterr().err.splitlines()
    assert len(told) == len(PLAYED) - 1 and "board 'mg1' is left out: no result of 'fcfs' and of '_bound'" in told
    assert 'id="mg1"' not in (tmp_path / "site" / "index.html").read_text(encoding="utf-8")


def test_no_results_at_all(call, tmp_path, capsys):
    assert call("render", "--folder", tmp_path, "--out", tmp_path / "site") == 2
    written = capsys.readouterr()
    assert written.out == "" and "no results to draw" in written.err and written.err.count("\n") == 1


# In a browser.


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with chromium(tmp_path_factory.mktemp("profile"), browser="ALL") as driver:
        yield driver


@pytest.fixture
def at(browser, out):
    """Open the page at a board, `width` px wide; what the console says in the end must be nothing."""

    def opened(board, width=1400):
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        browser.get("about:blank")
        browser.get(f"{out.as_uri()}#{board}")
        return browser.find_element("css selector", f"#{board}")

    yield opened
    assert browser.get_log("browser") == []


def column(section, place):
    cells = section.find_elements("css selector", f"table.sortable tbody tr td:nth-child({place})")
    return [(cell.find_element("xpath", "..").get_attribute("class"), cell.get_attribute("data-v")) for cell in cells]


def wait(browser, condition):
    from selenium.webdriver.support.ui import WebDriverWait

    return WebDriverWait(browser, 20).until(lambda _: condition())


def test_tabs_show_one_board(browser, at):
    for name in PLAYED:
        at(name)
        shown = [s.get_attribute("id") for s in browser.find_elements("css selector", ".board") if s.is_displayed()]
        assert shown == [name]
        assert browser.find_element("css selector", "nav [aria-current]").get_attribute("hash") == f"#{name}"


def test_a_click_on_a_head_sorts(at):
    section = at("mg1")
    for head, place in (("score", 4), ("p99 / fcfs", 7)):
        button = section.find_element("xpath", f".//th/button[text()='{head}']")
        for told in ("descending", "ascending"):
            button.send_keys("\ue007")  # Enter
            values = [float(value) for look, value in column(section, place) if look != "truth"]
            assert values == sorted(values, reverse=told == "descending") and len(set(values)) > 1
            assert button.find_element("xpath", "..").get_attribute("aria-sort") == told
            assert column(section, place)[-1][0] == "truth"
    section.find_element("xpath", ".//th/button[text()='policy']").click()
    names = [value for look, value in column(section, 2) if look != "truth"]
    assert names == sorted(names)


def test_a_policy_opens_and_leads_to_a_scenario(browser, at, data):
    section = at("mg1")
    section.find_element("css selector", "button.open[data-policy='spjf']").click()
    dialog = browser.find_element("css selector", "dialog[open]")
    rows = dialog.find_elements("css selector", "tbody tr")
    assert [row.find_element("css selector", "td").text for row in rows] == ["a", "b"]
    dialog.find_element("css selector", "button[data-scenario='1']").click()
    assert not browser.find_elements("css selector", "dialog[open]")
    assert section.find_element("css selector", ".scenarios select").get_attribute("value") == "1"
    names = {name.text for name in section.find_elements("css selector", ".costs .name") if name.text}
    assert names == {*PLAYED["mg1"], "mine"}
    assert len(section.find_elements("css selector", ".plane circle")) == len(names)
    section.find_element("css selector", ".measure option[value=lead]").click()
    leads = {
        row.find_element("css selector", ".name").text: row.find_element("css selector", ".value").text
        for row in section.find_elements("css selector", ".costs .row")[:-1]
    }
    best = data["mg1"]["best"]
    assert set(leads) == names and leads[best] == "0 %" and leads["fcfs"].startswith("\N{MINUS SIGN}")
    assert len(section.find_elements("css selector", ".curve path")) >= 1
    section.find_element("css selector", "button.open[data-policy='mine']").send_keys("\ue007")
    assert "</script><!--" in dialog.text
    dialog.send_keys("\ue00c")  # Escape
    assert not browser.find_elements("css selector", "dialog[open]")


@pytest.mark.parametrize("name", list(EPISODES))
def test_the_player_plays(name, browser, at, data):
    section = at(name)
    player = section.find_element("css selector", ".player")

    def time():
        return int(player.get_attribute("data-time"))

    button = player.find_element("css selector", "button.play")
    assert time() == 0
    button.click()
    wait(browser, lambda: time() > 0)
    button.click()
    assert button.text == "Play" and button.get_attribute("aria-pressed") == "false"
    slider = player.find_element("css selector", "input[type=range]")
    slider.send_keys(" ")
    assert button.text == "Pause"
    slider.send_keys(" ")
    before = time()
    slider.send_keys("\ue014")  # arrow right
    assert time() > before

    choices = player.find_elements("css selector", "select.policy")
    for select, policy in zip(choices, ("fcfs", "srpt"), strict=True):
        select.find_element("css selector", f"option[value={policy}]").click()
    end = int(slider.get_attribute("max"))
    jump = "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input'))"
    most = 0
    for k in range(1, 10):
        browser.execute_script(jump, slider, end * k / 10)
        most = max(most, len(player.find_elements("css selector", ".memory rect")))
        for stage in player.find_elements("css selector", ".body"):
            gone = int(stage.find_element("css selector", ".gone").text)
            assert len(stage.find_elements("css selector", "rect.true")) == min(gone, 4)  # the truth of who has left
    assert (most > 2) == (name == "llm")
    browser.execute_script(jump, slider, end)
    arrival = np.array(data[name]["episode"]["jobs"]["arrival"])
    for stage, policy in zip(player.find_elements("css selector", ".body"), ("fcfs", "srpt"), strict=True):
        mean = (np.array(data[name]["episode"]["runs"][policy]["done"]) - arrival).mean() / 1000
        assert float(stage.find_element("css selector", ".mean").text.split()[0]) == pytest.approx(mean, abs=0.0051)
        assert int(stage.find_element("css selector", ".gone").text) == len(arrival)


@pytest.mark.parametrize("width", [380, 760, 1000])
def test_no_window_scrolls_sideways(width, browser, at):
    for name in PLAYED:
        section = at(name, width)
        wide = browser.execute_script("return document.documentElement.scrollWidth - innerWidth")
        assert wide <= 0
        browser.execute_script("arguments[0].click()", section.find_element("css selector", "button.open"))
        dialog = browser.find_element("css selector", "dialog[open]")
        assert browser.execute_script("return arguments[0].scrollWidth - arguments[0].clientWidth", dialog) <= 0
