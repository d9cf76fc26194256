"""What a replica sustains is found once: the cache knows all that it depends on, and is never needed."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from llmqueue_gym.engines import batching
from llmqueue_gym.profiles import profile
from llmqueue_gym.systems import Scenario, capacity

HERE = Scenario(
    "replica:profile=a100-llama3-8b:kv_tokens=2000,rules=vllm-v1:max_seqs=8,size=lognormal:prompt=60;output=20,rate=1",
    n_jobs=300,
)


@pytest.fixture
def searches(tmp_path, monkeypatch):
    """An empty cache, in memory too, and the searches that were made."""
    monkeypatch.setenv("LLMQUEUE_CACHE", str(tmp_path / "here"))
    monkeypatch.setattr(capacity, "_FOUND", {})
    made, search = [], capacity.search

    def counted(drawn, system, progress=None):
        made.append(system)
        return search(drawn, system, progress)

    monkeypatch.setattr(capacity, "search", counted)
    return made


def found(scenario, forget=True):
    """Return the capacity, as a fresh process would find it."""
    if forget:
        capacity._FOUND.clear()
    return capacity.capacity(scenario)


def test_it_is_found_again_without_a_search(searches, tmp_path):
    steps = []
    first = capacity.capacity(HERE, progress=lambda done, total: steps.append((done, total)))
    assert steps and steps[-1][0] == steps[-1][1]
    assert found(HERE) == first == found(HERE, forget=False)
    assert len(searches) == 1 and len(list((tmp_path / "here").iterdir())) == 1
    at_half = replace(HERE, load=0.5, rate=None).draw(3).work["arrival"]
    np.testing.assert_allclose(at_half, HERE.draw(3).work["arrival"] / (0.5 * first.rate_scale))
    assert len(searches) == 1


def test_what_it_depends_on_gives_another_key_and_what_it_does_not_gives_none(searches):
    numbers = profile("a100-llama3-8b:kv_tokens=2000")
    plain = found(HERE)
    for same in (
        replace(HERE, load=0.5, rate=None),
        replace(HERE, predictor="exact"),
        replace(HERE, cut_off=2.0),
        replace(HERE, rules="vllm-v1:max_seqs=8,horizon=5"),
        replace(HERE, profile=replace(numbers, name="another name")),
    ):
        assert found(same) == plain
    assert len(searches) == 1
    others = [
        replace(HERE, rules="vllm-v1:max_seqs=4"),
        replace(HERE, profile="a100-llama3-8b:kv_tokens=1500"),
        replace(HERE, profile=replace(numbers, numbers=2 * numbers.numbers)),
        replace(HERE, size="lognormal:prompt=60,output=40"),
        replace(HERE, arrivals="mmpp"),
        replace(HERE, n_jobs=299),
    ]
    rates = [found(other).rate for other in others]
    assert len(searches) == 1 + len(others)
    assert rates[2] == pytest.approx(plain.rate / 2, rel=0.03) and rates[0] < plain.rate


def test_another_engine_looks_again(searches, tmp_path, monkeypatch):
    found(HERE)
    copied = tmp_path / "batching"
    shutil.copytree(Path(batching.__file__).parent, copied, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(batching, "__file__", str(copied / "__init__.py"))
    for text, count in (("", 1), ("# faster\n", 2)):
        with open(copied / "iteration.py", "a") as file:
            file.write(text)
        capacity._engine.cache_clear()
        found(HERE)
        assert len(searches) == count
    capacity._engine.cache_clear()


@pytest.mark.parametrize("spoilt", ["not json", "{}", '{"rate_scale": null, "rate": 1, "backlog_rate": 1}'])
def test_a_spoilt_file_is_looked_past_and_mended(searches, tmp_path, spoilt):
    first = found(HERE)
    (file,) = (tmp_path / "here").iterdir()
    file.write_text(spoilt)
    assert found(HERE) == first == found(HERE) and len(searches) == 2


def test_a_folder_that_cannot_be_written_is_no_error(searches, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("LLMQUEUE_CACHE", str(tmp_path / "file" / "folder"))
    assert found(HERE) == found(HERE) and len(searches) == 2
    assert found(HERE, forget=False) and len(searches) == 2


@pytest.mark.parametrize("policy", ["mc-sf", "s3-like", "light-admission"])
def test_predictions_are_cut_to_what_fits_so_nobody_waits_for_ever(policy):
    wild = replace(HERE, predictor="lognormal:sigma=4", max_tokens=400, rules="vllm-v1:max_seqs=8,max_model_len=400")
    work = wild.draw(1).work
    for column in ("predicted", "first_predicted", "lower", "upper"):
        assert (work[column] + work["prompt"] <= 400).all()
    assert (work["predicted"] + work["prompt"] == 400).any()  # some were
    assert wild.simulate(policy, 1).reason == "drained"


def test_a_long_stream_is_judged_by_stretches_of_it_at_the_rate_of_all(searches, monkeypatch):
    n = 8000
    drawn = replace(HERE, n_jobs=n, rate=7.0).draw(1)
    whole = capacity.search(drawn, HERE.system)
    monkeypatch.setattr(capacity, "SAMPLE", 2000)
    few = capacity.sample(drawn)
    assert capacity.sample(few) is few and len(few.sizes) == 2000
    assert capacity.recorded_rate(few.work) == pytest.approx(capacity.recorded_rate(drawn.work), rel=1e-12)
    stretches = np.concatenate([drawn.sizes[start : start + 100] for start in np.linspace(0, n - 100, 20).astype(int)])
    np.testing.assert_array_equal(few.sizes, stretches)
    assert (np.diff(few.work["arrival"]) >= 0).all()
    found = capacity.search(few, HERE.system)
    assert found.requests == 2000 and whole.requests == n
    assert found.rate == pytest.approx(whole.rate, rel=0.05)


def test_a_law_is_drawn_no_longer_than_its_sample(searches, monkeypatch):
    monkeypatch.setattr(capacity, "SAMPLE", 300)
    assert found(replace(HERE, n_jobs=10**9)) == found(HERE)


def test_with_a_cache_each_pass_finds_what_its_own_requests_share_and_no_more(searches):
    """Texts that came again in every pass would all be found in the cache, and any rate would do."""
    sizes = {n: f"prefixes:texts={n},zipf=0,prefix=40,own=constant:prompt=20;output=5" for n in (1, 100_000)}
    cached = replace(HERE, rules="vllm-v1:max_seqs=8,caching=vllm,block_size=1")
    alone, beside = (found(replace(one, size=sizes[100_000])) for one in (HERE, cached))
    assert beside.rate == pytest.approx(alone.rate, rel=0.05)
    assert found(replace(cached, size=sizes[1])).rate > 1.2 * alone.rate
