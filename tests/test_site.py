"""The site: its pages follow from the registries and name what there is; built, it works in a real browser."""

import json
import os
import re
import time
from pathlib import Path

import pytest
from browsing import chromium

ROOT = Path(__file__).parents[1]
DOCS, README = ROOT / "docs", ROOT / "README.md"
if not (DOCS / "generate.py").is_file():
    pytest.skip("docs/ is only in a checkout", allow_module_level=True)
PAGES = sorted(DOCS.glob("*.md"))
SITE = Path(os.environ.get("LLMQUEUE_SITE", ROOT / "build" / "site"))


@pytest.fixture(autouse=True)
def _makers(monkeypatch):
    """The modules that make pages; what theory knows takes half a minute and is left out."""
    monkeypatch.syspath_prepend(str(DOCS))
    monkeypatch.setenv("DOCS_WITHOUT_THEORY", "")


# What is written.


def blocks(text, language):
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def test_the_readme_is_short_and_its_examples_are_run_by_the_site():
    text = README.read_text("utf-8")
    assert len(text.splitlines()) <= 150
    run = [
        block for page in PAGES for language in ("python", "sh") for block in blocks(page.read_text("utf-8"), language)
    ]
    for block in blocks(text, "python"):
        assert any(block in one for one in run), block
    commands = [line for block in blocks(text, "sh") for line in block.splitlines() if line.startswith("llmqueue")]
    assert commands and all(any(line in one for one in run) for line in commands)


@pytest.mark.parametrize("page", [README, *PAGES], ids=lambda page: page.name)
def test_files_that_pages_link_to_are_there(page):
    text = page.read_text("utf-8")
    links = re.findall(r"\]\(([^)#\s:]+)(?:#[^)]*)?\)", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    made = re.compile(r"(environments|policies|predictors|profiles|boards|api)/|speed\.md")
    missing = [link for link in links if not made.match(link) and not (page.parent / link).exists()]
    assert not missing


def test_every_page_is_in_the_menu():
    menu = (DOCS / "index.md").read_text("utf-8")
    named = {line for block in blocks(menu, "{toctree}") for line in block.splitlines()}
    patterns = [name[:-1] for name in named if name.endswith("*")]
    for page in PAGES:
        assert page.stem == "index" or page.stem in named or any(page.stem.startswith(one) for one in patterns)


def test_examples_become_cells_and_the_rest_stays():
    from made.written import ready

    text = ready(
        "a\n```python\nx = 1\n```\nb\n```sh\nllmqueue envs --plot p.png\n```\n```bash\nno\n```\n```py\nno\n```\n"
    )
    assert text.startswith("---\nfile_format: mystnb")
    assert "```{code-cell} ipython3\nx = 1\n```" in text
    assert "```bash\nllmqueue envs --plot p.png\n```" in text
    assert """["bash", "-ec", 'llmqueue envs --plot p.png\\n']""" in text
    assert 'Image("p.png")' in text and text.count("{code-cell}") == 3
    assert ready("```py\nno\n```\n") == "```py\nno\n```\n"


def test_pages_whose_examples_run_elsewhere_say_where():
    from made.written import ready

    told = {}
    for page in PAGES:
        text = page.read_text("utf-8")
        for where in re.findall(r"<!-- examples are run by (\S+) -->", text):
            told[page.name] = where
            assert (ROOT / where).is_file() and page.name in (ROOT / where).read_text("utf-8")
            assert ready(text) == text
    assert told["new_system.md"] == "tests/test_toy_system.py"


# What follows from the registries.


def test_every_environment_has_a_page_with_all_that_is_seen_and_a_frame():
    from made import environments
    from made.asked import asked

    from llmqueue_gym.envs import ENVIRONMENTS

    for name in ENVIRONMENTS:
        assert (DOCS / "_static" / "frames" / f"{environments.short(name)}.png").is_file(), "python docs/frames.py"
    for name in ("llmqueue/Deadline-v0", "llmqueue/Routing-v0"):
        page, told = environments.page(name), asked("envs", name)
        assert all(f"| `{column}` |" in page for part in ("jobs", "system") for column in told[part])
        assert all(f"| `{argument}` |" in page for argument in told["parameters"])
        assert told["actions"] in page.replace("\n", " ")


def test_what_agents_get_is_what_is_stored():
    from made.learnt import RESULTS, STORED, learnt

    from llmqueue_gym.envs import ENVIRONMENTS

    stored = [json.loads((RESULTS / f"{name}.json").read_text("utf-8")) for name in STORED]
    for row in (row for told in stored for row in told["rows"]):
        found = learnt(row["id"])
        costs = {row["random_choice"], row["base_cost"], row["best_cost"]}
        assert {cost for _, cost, _ in found["rows"]} == costs | {one["cost"] for one in row["agents"].values()}
    assert all(len(learnt(name)["verdicts"]) == 2 for name in ENVIRONMENTS)


def test_every_kind_of_policy_has_a_title_and_every_policy_a_page():
    from made import policies

    from llmqueue_gym.cli.asked import kinds_of_systems

    for system in kinds_of_systems():
        for part in system.policies.parts:
            assert set(part) <= set(policies.kinds()[part.made.kind]["names"])
            assert set(part) <= set(policies.listed()[part.made.kind])
    page = policies.page("policy", "sprpt")
    assert "return job.predicted - job.age" in page and "Price of Misprediction" in page
    assert "boards/mg1.md" in page and "boards/central.md" in page
    assert policies.page("policy", "learned-ppo-exponential").count("| made by | `python") == 1


def test_theory_is_asked_where_it_knows_something(monkeypatch):
    from made import theory

    monkeypatch.delenv("DOCS_WITHOUT_THEORY")
    ((where, rows, covered),) = theory.known.__wrapped__("moldable policy")
    assert "8 servers" in where and rows["one-server"]["kind"] == "exact" and covered
    assert theory.known.__wrapped__("router") == []


def test_boards_show_the_ranking_of_what_is_stored():
    from made import boards
    from made.ranks import places, ranked

    one = ranked()["mg1"]
    page = boards.page(one)
    for row in one.rows:
        assert f"| {row['told']} | {row['score']['mean']:.3f} |" in page
        assert f"/{row['policy']}.md)" in page
    assert one.headline in page and all(name in page for name in one.on.fields)
    (mine,) = [at for at in places()["policy", "gittins"] if at.board.name == "mg1"]
    assert mine.place == [row["policy"] for row in one.rows].index("gittins") + 1


def test_predictors_and_profiles_have_a_page_each():
    from made import predictors, profiles

    from llmqueue_gym.predictors import PREDICTORS
    from llmqueue_gym.profiles import PROFILES

    found = predictors.pages()
    assert {f"predictors/sizes/{name}.md" for name in PREDICTORS} < set(found)
    assert "class Lognormal" in found["predictors/sizes/lognormal.md"]
    found = profiles.pages()
    assert {f"profiles/{name}.md" for name in PROFILES if name != "file"} < set(found)
    assert "mean absolute error 3.9 %" in found["profiles/a100-llama3-8b.md"]


def test_docstrings_become_lists():
    from made.asked import as_markdown

    text = as_markdown(
        "First.\n\nArgs:\n    one: what it\n        is.\n    two: other.\n\nRaises:\n    BadInput: so.\n"
    )
    assert "**Parameters**\n\n- `one`: what it is.\n- `two`: other.\n" in text
    assert "**Errors**\n\n- `BadInput`: so.\n" in text


def test_docstrings_are_good_for_the_reference(monkeypatch):
    monkeypatch.setattr(os, "environ", dict(os.environ))
    space = {}
    exec((DOCS / "conf.py").read_text("utf-8"), space)
    lines = ["a * b, `c * d`s", "", "* one", "* two_", "", "as in", "", "    f(*x)", "", "end|"]
    space["as_restructured"](None, "module", "m", None, None, lines)
    text = "\n".join(lines)
    assert text == "a \\* b, `c * d`\\ s\n\n* one\n* two\\_\n\nas in\n\n::\n\n    f(*x)\n\nend\\|"


# Built, in a browser.


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if not (SITE / "index.html").is_file():
        pytest.skip("no site: make docs")
    with chromium(tmp_path_factory.mktemp("profile"), browser="ALL", performance="ALL") as driver:
        yield driver


# One of each kind.
LOOKED_AT = [
    "index",
    "start_learning",
    "start_serving",
    "start_theory",
    "one_server",
    "fleets",
    "learning",
    "leaderboard",
    "speed",
    "open_questions",
    "first_agent",
    "command_line",
    "environments/index",
    "environments/Routing",
    "environments/LLMBatching",
    "policies/index",
    "policies/orders-of-jobs/index",
    "policies/orders-of-jobs/gittins",
    "policies/routers/llm-d",
    "policies/orders-of-requests-and-calls/ssjf",
    "predictors/index",
    "predictors/lengths/trail",
    "profiles/index",
    "profiles/a100-llama3-8b",
    "boards/index",
    "boards/fleet",
    "boards/mg1",
    "api/index",
    "api/systems",
    "genindex",
    "search",
]


def seen(browser, name):
    browser.get((SITE / f"{name}.html").as_uri())


def click(browser, element):
    browser.execute_script("arguments[0].scrollIntoView({behavior: 'instant', block: 'center'})", element)
    element.click()


def complaints(browser):
    """What the console says, and what was asked of the network."""
    said = [entry["message"] for entry in browser.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]
    for entry in browser.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            url = message["params"]["request"]["url"]
            said += [] if url.startswith(("file:", "data:", "chrome:", "about:")) else [url]
    return said


def waited(found):
    for _ in range(100):
        if value := found():
            return value
        time.sleep(0.1)
    raise AssertionError("it does not come")


def test_one_goes_from_the_first_page_to_any_other(browser):
    seen(browser, "index")
    doors = browser.find_elements("css selector", ".sd-card")
    assert len(doors) == 3
    click(browser, doors[1])
    assert browser.find_element("tag name", "h1").text.startswith("Start with your trace")
    for link, title in (("Policies", "Policies"), ("Orders of jobs", "Orders of jobs"), ("gittins", "gittins")):
        entry = browser.find_element("css selector", ".sidebar-tree").find_element("link text", link)
        click(browser, entry)
        assert browser.find_element("tag name", "h1").text.startswith(title)
    assert complaints(browser) == []


def test_search_finds_a_policy(browser):
    seen(browser, "index")
    field = browser.find_element("css selector", "input.sidebar-search")
    field.send_keys("consistent hash")
    field.submit()
    links = waited(lambda: browser.find_elements("css selector", "#search-results li a"))
    assert any("policies/routers/consistent-hash.html" in link.get_attribute("href") for link in links)
    assert complaints(browser) == []


@pytest.mark.parametrize("name", LOOKED_AT)
def test_a_page_fits_a_phone_and_is_whole(browser, name):
    size = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        seen(browser, name)
        assert browser.execute_script("return document.documentElement.scrollWidth") <= 390
        blind = "return [...document.images].filter(i => i.complete && !i.naturalWidth).map(i => i.src)"
        assert browser.execute_script(blind) == []
        assert complaints(browser) == []
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
