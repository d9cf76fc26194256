"""The page of open questions names what there is: scripts, figures and commands."""

import re
from pathlib import Path

import pytest

from llmqueue_gym.systems import SYSTEMS

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "open_questions.md").read_text(encoding="utf-8")
TEXT = " ".join(PAGE.split())
SECTIONS = {"2.1": "abcdef", "2.2": "abc", "2.3": "abc", "2.4": "abcde", "2.5": "abc"}
SECTIONS |= {"4.1": "abc", "4.2": "abc", "4.3": "abcde", "5.1": "ab", "5.2": "abcd", "5.3": "ab", "6": "abc"}


def test_every_question_of_these_sections_has_what_is_known_and_what_is_open():
    parts = re.split(r"\*\*((?:[245]\.\d|6)-[a-f]) ", TEXT)
    said = dict(zip(parts[1::2], parts[2::2], strict=True))
    assert list(said) == [f"{part}-{letter}" for part, letters in SECTIONS.items() for letter in letters]
    assert len(said) == 42
    for question, words in said.items():
        assert "*Open:*" in words and len(words) > 150, question


def test_links_and_scripts_are_there():
    links = re.findall(r"\]\((\.\./[^)]+)\)", TEXT)
    scripts = re.findall(r"experiments/\w+\.py|experiments/results/\w+\.\w+|llmqueue_gym/[\w/]+\.py", TEXT)
    assert len(links) >= 12 and len(scripts) >= 12
    missing = [name for name in links if not (ROOT / "docs" / name).is_file()]
    missing += [name for name in scripts if not (ROOT / name).is_file()]
    assert not missing


@pytest.mark.parametrize("spec", sorted(set(re.findall(r"--policy ([\w-]+(?::[\w=.;]+)?)", TEXT))))
def test_policies_of_commands_can_be_made(spec):
    tables = [SYSTEMS.builder(name).policies for name in SYSTEMS]
    assert any(spec.partition(":")[0] in table and table(spec) for table in tables)
