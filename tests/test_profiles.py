"""Cost profiles: sound on a grid, true to their sources, fitted back from rows that they made, kept on disk."""

import csv
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from llmqueue_gym._jit import records
from llmqueue_gym.cli.profile import profile as command
from llmqueue_gym.engines.batching.cost import FORMS, iteration_time
from llmqueue_gym.engines.batching.tables import BATCH
from llmqueue_gym.errors import BadInput
from llmqueue_gym.profiles import PROFILES, Profile, profile
from llmqueue_gym.profiles.base import COUNTS, kv_bytes, kv_capacity
from llmqueue_gym.profiles.files import read_profile, write_profile
from llmqueue_gym.profiles.fit import COEFFICIENTS, fit
from llmqueue_gym.profiles.iterations import Iterations, read_iterations
from llmqueue_gym.profiles.models import LLAMA2_7B, LLAMA2_70B, LLAMA3_8B
from llmqueue_gym.profiles.plot import plot_fit

REFERENCE = Path(__file__).parents[2] / "shared" / "vidur" / "reference"
NAMES = [name for name in PROFILES if name != "file"]
TRUE = np.array([10.426, 7.1369, 0.064384, 4.5208e-6, 8.9908e-5]) / 1000  # s, of a100-llama3-8b


def seconds(made, prompts=(), contexts=(), cached=0):
    """Return the time of a batch of whole prompts, or of one chunk behind `cached` tokens, and of decodes."""
    new = np.array(prompts, dtype=float)
    batch = np.zeros(1, BATCH)
    batch["tokens"] = new.sum() + len(contexts)
    batch["prefills"], batch["prefill_tokens"], batch["decodes"] = len(new), new.sum(), len(contexts)
    batch["context"], batch["squares"] = np.sum(contexts), (new**2).sum()
    batch["pairs"], batch["pages"] = (new * (cached + new / 2)).sum(), len(new) * -(-cached // 64)
    return float(iteration_time(FORMS.index(made.form), made.numbers, records(batch)[0]))


def synthetic(n, noise=0.0, seed=0):
    """Return n iterations of one prompt, decodes, or both, that take what `TRUE` says, times lognormal noise."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(3, size=n)
    prompts = np.where(kind == 0, 0, rng.integers(1, 2049, n)).astype(float)
    decodes = np.where(kind == 1, 0, rng.integers(1, 129, n)).astype(float)
    cached = rng.integers(0, 3000, n)
    context, pairs = decodes * rng.integers(64, 4000, n), prompts * (cached + prompts / 2)
    table = Iterations(prompts + decodes, prompts, decodes, context, pairs, np.ones(n))
    return replace(table, seconds=table.predict(TRUE) * np.exp(noise * rng.standard_normal(n)))


def write_csv(path, header, rows):
    with open(path, "w", newline="") as stream:
        csv.writer(stream).writerows([header.split(","), *rows])
    return path


# Every profile.


@pytest.mark.parametrize("name", NAMES)
def test_every_profile_says_where_it_comes_from(name):
    made = profile(name)
    assert made.name == name and made.model and made.gpu and len(made.source) > 20 and made.error
    assert made.form in FORMS and made.kv_tokens > 1000 and made.kv_bytes_per_token > 0
    assert made.price_source or np.isnan(made.price_per_hour)
    assert made.power.source or np.isnan(made.power.idle)
    assert np.isnan(made.power.idle) or made.power.idle < made.power.decode < made.power.prefill
    assert profile(made) is made and profile(f"{name}:kv_tokens=2048").kv_tokens == 2048
    # Weights and cache together must fit.
    assert np.isnan(made.memory_gb) or made.kv_tokens * made.kv_bytes_per_token < 1e9 * made.memory_gb


@pytest.mark.parametrize("name", NAMES)
def test_times_are_finite_positive_and_grow(name):
    made = profile(name)
    prompts = [seconds(made, [n]) for n in (1, 16, 128, 200, 512, 1000, 2048, 8192, 40_000)]
    batches = [seconds(made, [300] * n) for n in (1, 2, 4, 16)]
    contexts = [[seconds(made, (), [c] * n) for c in (1, 64, 576, 2000, 8256, 30_000)] for n in (1, 3, 94, 95, 256)]
    # DistServe's two lines for decodes do not meet where they take over from one another, at 95 decodes.
    sides = ((1, 2, 3, 4, 8, 20, 50, 94), (95, 128, 256))
    decodes = [[seconds(made, (), [c] * n) for n in side] for side in sides for c in (1, 600, 4000)]
    mixed = [[seconds(made, [n], [1000] * 32) for n in (1, 64, 512, 4096)]]
    chunks = [[seconds(made, [512], cached=c) for c in (0, 512, 8192)]]
    for times in (prompts, batches, *contexts, *decodes, *mixed, *chunks):
        assert np.isfinite(times).all() and np.min(times) > 0
        assert (np.diff(times) >= -1e-12).all(), times
    for n in (64, 512, 4096):
        assert seconds(made, [n], [1000] * 32) >= seconds(made, [n])


# True to their sources.


def test_distserve_by_hand():
    made = profile("distserve-opt-13b-tp1")
    prompts = (100, 400)
    want = 18.10 + 0.1019 * 500 + 7.12e-6 * (100**2 + 400**2) + 1 + (2 + 1e-4 * 500)  # ms, 1 for the stage
    assert 1e3 * seconds(made, prompts) == pytest.approx(want, rel=1e-12)
    for decodes, (a, b, c) in {94: (19.93, 6.27e-4, 0.0385), 95: (7.17, 5.80e-4, 0.158)}.items():
        want = a + b * 500 * decodes + c * decodes + (2 + 1e-4 * 500 * decodes)
        assert 1e3 * seconds(made, (), [500] * decodes) == pytest.approx(want, rel=1e-12)
    assert profile("vllm-opt-13b-tp1").kv_tokens == made.kv_tokens == 66_144
    assert profile("distserve-opt-66b-tp4").kv_bytes_per_token == 2 * 64 * 72 * 128 * 2


def test_splitwise_tables():
    times = {"splitwise-a100-llama2-70b": 93, "splitwise-h100-llama2-70b": 54, "splitwise-a100-bloom-176b": 174}
    for name, want in {**times, "splitwise-h100-bloom-176b": 76}.items():
        assert 1e3 * seconds(profile(name), [512]) == pytest.approx(want, abs=0.5)
    made = profile("splitwise-a100-llama2-70b")
    assert 1e3 * seconds(made, [1024, 1024]) == pytest.approx(282.71)
    assert 1e3 * seconds(made, [4096 + 2048]) == pytest.approx((708.36 + 1780.97) / 2)
    assert seconds(made, [480], [600] * 32) == pytest.approx(1.1 * seconds(made, [512]))
    assert 1e3 * seconds(made, (), [576] * 64) == pytest.approx(71.605)
    assert 1e3 * seconds(made, (), [8256]) == pytest.approx(44.852 + 1.658)
    assert made.power.prefill == 8 * 400 and made.price_per_hour == pytest.approx(8 * 2.79)


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("splitwise")])
def test_splitwise_tables_are_the_medians_of_the_measured_rows(name):
    path = REFERENCE.parents[1] / "traces" / "tables" / "splitwise_perf_model.csv"
    if not path.exists():
        pytest.skip(f"no {path.name} in the optional data folder")
    _, gpu, model = name.split("-", 2)
    with open(path) as stream:
        key = (model, f"{gpu}-80gb", "8")
        rows = [r for r in csv.DictReader(stream) if (r["model"], r["hardware"], r["tensor_parallel"]) == key]
    made = profile(name)
    for total in (512, 1024, 2048, 4096, 8192, 16_384, 32_768):
        times = [float(r["prompt_time"]) for r in rows if int(r["prompt_size"]) * int(r["batch_size"]) == total]
        assert 1e3 * seconds(made, [total]) == pytest.approx(np.median(times), rel=1e-3)
    for batch in (1, 4, 8, 16, 32, 64):
        same = [r for r in rows if (r["prompt_size"], r["token_size"], int(r["batch_size"])) == ("512", "128", batch)]
        times = [float(r["token_time"]) for r in same]
        assert 1e3 * seconds(made, (), [576] * batch) == pytest.approx(np.median(times), rel=1e-4)


def test_vidur_rooflines():
    made = profile("a100-llama3-8b")
    np.testing.assert_allclose(made.numbers, TRUE)
    assert 1e3 * seconds(made, [395]) == pytest.approx(32.9213, abs=1e-4)  # first iteration of a reference run
    assert 1e3 * seconds(made, (), [1]) == pytest.approx(10.426 + 8.9908e-5)
    assert profile("a100-llama2-70b-tp2").kv_tokens == 3328 * 16
    assert (
        "attention" in profile("h100-llama2-7b").estimated and "attention" in profile("h100-llama2-70b-tp2").estimated
    )


def test_rooflines_are_those_of_the_fitted_coefficients():
    path = REFERENCE.parent / "profile" / "fitted_coefficients.json"
    if not path.exists():
        pytest.skip(f"no {path.name} in the optional data folder")
    models = {"Llama-2-70B": "Llama-2-70b-hf", "Llama-2-7B": "Llama-2-7b-hf", "Llama-3-8B": "Meta-Llama-3-8B"}
    fits = json.loads(path.read_text())["fits"]
    for made in (profile(name) for name in NAMES if name.split("-")[0] in ("a100", "h100")):
        told = fits[f"{models[made.model]}|{made.name[:4]}|tp{made.gpu[0]}"]["roofline"]
        np.testing.assert_allclose(1e3 * made.numbers, [told[key] for key in ("w0", "a", "b", "c2", "c3")])
        for key in ("mape_pct", "p95_ape_pct", "bias_pct"):
            assert f"{told[key]:g} %" in made.error


def test_survey_and_unit():
    made = profile("gpt3-175b")
    assert seconds(made, (), [512]) == seconds(made, [4096]) == 0.25
    assert 512 * made.kv_bytes_per_token == pytest.approx(2.4e9, rel=0.01)
    assert seconds(profile("unit:kv_tokens=50"), [7], [3, 4]) == 1 and profile("unit").kv_tokens == 16_492


def test_memory_of_a_token():
    assert kv_bytes(32, 32, 128) == LLAMA2_7B.kv_bytes_per_token == 524_288
    assert kv_bytes(80, 8, 128) == LLAMA2_70B.kv_bytes_per_token == 327_680  # an eighth of its query heads
    assert kv_bytes(80, 8, 128, bytes_each=1) == 163_840
    assert kv_capacity(1000, 500, 10) == 40 and kv_capacity(1000, 500, 10, share=1) == 50
    # Parameters from the configurations: vocabulary, hidden size, feed-forward, keys and values, layers.
    for model, vocabulary, hidden, inner in (
        (LLAMA2_7B, 32_000, 4096, 11_008),
        (LLAMA2_70B, 32_000, 8192, 28_672),
        (LLAMA3_8B, 128_256, 4096, 14_336),
    ):
        cache = model.kv_heads * model.head_dim
        layer = 2 * hidden**2 + 2 * hidden * cache + 3 * hidden * inner + 2 * hidden
        assert model.parameters == 2 * vocabulary * hidden + model.layers * layer + hidden


# What a profile refuses.


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"form": "roofine"}, "did you mean 'roofline'"),
        ({"kv_tokens": 0}, "kv_tokens=0"),
        ({"kv_tokens": 1.5}, "kv_tokens=1.5"),
        ({"kv_bytes_per_token": -1.0}, "kv_bytes_per_token=-1"),
        ({"numbers": np.ones(4)}, "has 5 numbers, not 4"),
        ({"numbers": np.array([1, 1, -2.0, 0, 0])}, "-2 is not finite"),
        ({"numbers": np.array([1, 1, np.nan, 0, 0])}, "nan is not finite"),
        ({"numbers": np.zeros(5)}, "some time"),
        ({"numbers": np.zeros((5, 1))}, "not a row"),
        ({"form": "phases"}, f"has {COUNTS['phases']} numbers"),
        ({"form": "splitwise"}, "not tables"),
    ],
)
def test_wrong_profiles(change, words):
    with pytest.raises(BadInput, match=words) as caught:
        replace(profile("unit"), **change)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("spec", ["a100-lama3-8b", "unit:tokens=5", "unit:kv_tokens=many", "file", "file:nowhere.json"])
def test_wrong_specs(spec):
    with pytest.raises(BadInput):
        profile(spec)


# On disk.


@pytest.mark.parametrize("name", NAMES)
def test_profiles_come_back_from_json(tmp_path, name):
    made, path = profile(name), tmp_path / "made.json"
    write_profile(path, made, {"rows": 3})
    again = profile(f"file:{path}")
    np.testing.assert_array_equal(again.numbers, made.numbers)
    assert str(again.to_dict()) == str(made.to_dict())  # as text, because NaN is not equal to itself
    assert read_profile(str(path), kv_tokens=77).kv_tokens == 77
    assert os.listdir(tmp_path) == ["made.json"]


def test_failing_to_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "made.json"
    write_profile(path, profile("unit"))
    before = path.read_text()
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        write_profile(path, profile("gpt3-175b"))
    assert path.read_text() == before and os.listdir(tmp_path) == ["made.json"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"modell": "x"}, "no field 'modell'; did you mean 'model'"),
        ({"source": None}, "source=None"),
        ({"kv_tokens": "many"}, "kv_tokens='many'"),
        ({"kv_tokens": True}, "kv_tokens=True"),
        ({"numbers": ["a"]}, "numbers="),
        ({"numbers": [1, None, 0, 0, 0]}, "nan is not finite"),
        ({"power": 3}, "power=3"),
        ({"power": {"idle": 1}}, "lacks the field 'prefill'"),
        ({"form": "x"}, "unknown form"),
    ],
)
def test_wrong_files(tmp_path, change, words):
    path = tmp_path / "made.json"
    path.write_text(json.dumps({**profile("unit").to_dict(), "memory_gb": None, **change}).replace("NaN", "null"))
    with pytest.raises(BadInput, match=words) as caught:
        read_profile(str(path))
    assert str(path) in str(caught.value)


def test_files_that_are_none(tmp_path):
    path = tmp_path / "made.json"
    for text in ("", "{", "[1]", "\x00"):
        path.write_text(text)
        with pytest.raises(BadInput, match="made"):
            read_profile(str(path))
    told = profile("unit").to_dict()
    del told["numbers"]
    path.write_text(json.dumps(told))
    with pytest.raises(BadInput, match="lacks the field 'numbers'"):
        read_profile(str(path))


# Fitting.


def test_fit_is_exact_without_noise():
    made, report = fit(synthetic(1000), kv_tokens=1000)
    np.testing.assert_allclose(made.numbers, TRUE, rtol=1e-4)
    assert report.held_out.mape < 1e-2 and report.rows == 1000 and report.warnings == ()
    assert set(report.by_kind) == {"decode", "mixed", "prefill"}
    assert list(report.coefficients) == list(COEFFICIENTS) and made.kv_tokens == 1000


@pytest.mark.parametrize("seed", range(3))
def test_fit_recovers_coefficients_from_noisy_rows(seed):
    """With 3 % noise on 4000 rows each coefficient comes back within 5 %, and the errors are those of the noise."""
    made, report = fit(synthetic(4000, noise=0.03, seed=seed), kv_tokens=1000)
    np.testing.assert_allclose(made.numbers, TRUE, rtol=0.05)
    expected = 100 * 0.03 * np.sqrt(2 / np.pi)
    assert report.held_out.mape == pytest.approx(expected, rel=0.1) and abs(report.held_out.bias) < 0.5
    assert report.held_out.p95 == pytest.approx(100 * 0.03 * 1.96, rel=0.15)


@pytest.mark.parametrize("name", ["sarathi_low", "sarathi_nearsat", "vllm_low"])
def test_fit_recovers_the_formula_of_reference_runs(name):
    path = REFERENCE / f"B_formula-llama3-8b-a100_{name}_iterations.csv"
    if not path.exists():
        pytest.skip(f"no {path.name} in the optional data folder")
    made, report = fit(path, kv_tokens=2048 * 16)
    np.testing.assert_allclose(made.numbers, TRUE, rtol=1e-4)  # the log has 7 decimals
    assert report.held_out.mape < 1e-3 and not report.warnings and path.name in made.source


def test_fit_agrees_with_the_engine(tmp_path):
    table = synthetic(40, noise=0.1)
    made, _ = fit(table, kv_tokens=1000)
    for i, want in enumerate(table.predict(made.numbers)):
        batch = np.zeros(1, BATCH)
        batch["tokens"], batch["context"], batch["pairs"] = table.tokens[i], table.context[i], table.pairs[i]
        assert float(iteration_time(0, made.numbers, records(batch)[0])) == pytest.approx(want, rel=1e-14)


def test_fit_says_what_the_rows_cannot_tell():
    table = synthetic(400, noise=0.01)
    decodes = table.rows(np.flatnonzero(table.prefill_tokens == 0))
    made, report = fit(decodes, kv_tokens=1000)
    assert "column pairs does not vary: its slope is a guess" in report.warnings and made.estimated
    alike = replace(decodes, context=500 * decodes.tokens)
    assert any("goes with the others" in words for words in fit(alike, 1000)[1].warnings)
    large = table.rows(np.flatnonzero(table.tokens > 300))
    assert any("no floor seen" in words for words in fit(large, 1000)[1].warnings)
    same = replace(table, seconds=table.predict(np.array([0.01, 0.01, 0.0, 1e-9, 1e-9])))
    assert any("slope of tokens came out as 0" in words for words in fit(same, 1000)[1].warnings)
    with pytest.raises(BadInput, match="at least 20"):
        fit(table.rows(slice(0, 19)), kv_tokens=1000)


# Reading measurements.


def test_columns_and_their_defaults(tmp_path):
    rows = [[100, 2, 300, 0.02, 50, 1], [0, 3, 900, 0.01, 0, 0]]
    full = write_csv(tmp_path / "a.csv", "prefill_tokens,decodes,context,seconds,cached,prefills", rows)
    table = read_iterations(full)
    np.testing.assert_array_equal(table.tokens, [102, 3])
    np.testing.assert_array_equal(table.pairs, [100 * (50 + 50), 0])
    assert "equal prompts" in table.notes[0] and list(table.kinds()) == ["decode", "mixed"]
    short = read_iterations(write_csv(tmp_path / "b.csv", "ms,context,decodes,prefill_tokens", [[20, 300, 2, 100]]))
    assert short.seconds == pytest.approx(0.02) and short.pairs == 5000 and "nothing cached" in short.notes[0]
    two = write_csv(tmp_path / "c.csv", "prefill_tokens,decodes,context,ms,prefills", [[100, 0, 0, 20, 2]])
    assert read_iterations(two).pairs == 2 * 50 * 25
    header = "iter,num_prefill_reqs,prefill_tokens,num_decode_reqs,decode_kv_tokens,prefill_pairs,exec_s"
    table = read_iterations(write_csv(tmp_path / "d.csv", header, [[0, 1, 395, 0, 0, 78012.5, 0.0329213]]))
    assert table.pairs == 78012.5 and table.seconds == 0.0329213 and table.notes == ()


@pytest.mark.parametrize(
    ("header", "row", "words"),
    [
        ("prefill_tokens,decodes,context,seconds", "5,1,x,0.1", "row 1, column 'context': 'x' is not a number"),
        ("prefill_tokens,decodes,context,seconds", "5,1,9,0", "row 1, column 'seconds': '0' is not positive"),
        ("prefill_tokens,decodes,context,ms", "5,1,9,nan", "row 1, column 'ms': 'nan' is not a finite number"),
        ("prefill_tokens,decodes,context,seconds", "5,1.5,9,1", "column 'decodes': '1.5' is not a whole number"),
        ("prefill_tokens,decodes,context,seconds", "-5,1,9,1", "column 'prefill_tokens': '-5' is negative"),
        ("prefill_tokens,decodes,context,seconds", "5,1,9", "column 'seconds': '' is not a number; it is missing"),
        ("prefill_tokens,decodes,context,seconds", "0,0,0,1", "leave empty iterations out"),
        ("prefill_tokens,decodes,context,seconds", "5,0,9,1", "column 'context': 9 tokens of context do not go with"),
        ("prefill_tokens,decodes,context,seconds", "5,2,0,1", "column 'context': 0 tokens of context do not go with"),
        ("prefill_tokens,decodes,context,seconds,tokens", "5,1,9,1,3", "column 'tokens': 3 is less than"),
        ("prefill_tokens,decode,context,seconds", "5,1,9,1", "no column 'decodes'; did you mean 'decode'"),
        ("prefill_tokens,decodes,context,second", "5,1,9,1", "no column 'seconds' or 'ms'; did you mean 'second'"),
    ],
)
def test_wrong_measurements(tmp_path, header, row, words):
    path = tmp_path / "bad.csv"
    path.write_text(f"{header}\n{row}\n")
    with pytest.raises(BadInput) as caught:
        read_iterations(path)
    assert words in str(caught.value) and str(path) in str(caught.value) and "\n" not in str(caught.value)


# The command line.


@pytest.fixture
def measured(tmp_path):
    table = synthetic(200, noise=0.02)
    columns = (table.prefill_tokens, table.decodes, table.context, table.pairs, 1e3 * table.seconds)
    return write_csv(
        tmp_path / "mine.csv", "prefill_tokens,decodes,context,pairs,ms", np.stack(columns, axis=1).tolist()
    )


def call(*arguments):
    return CliRunner().invoke(command, [str(word) for word in arguments])


def test_list_and_show():
    listed = json.loads(call("list", "--json").output)["profiles"]
    assert [entry["name"] for entry in listed] == NAMES and all(entry["description"] for entry in listed)
    text = call("list").output
    assert all(name in text for name in NAMES)
    shown = json.loads(call("show", "splitwise-a100-llama2-70b", "--json").output)
    assert shown["milliseconds"]["prompt of 512 tokens"] == pytest.approx(93.02)
    assert "3200 prefill" in call("show", "splitwise-a100-llama2-70b").output
    assert "watts" not in call("show", "unit").output
    assert isinstance(call("show", "unti").exception, BadInput)


def test_fit_writes_and_draws(tmp_path, measured):
    out, picture = tmp_path / "mine.json", tmp_path / "mine.png"
    ran = call("fit", measured, "--kv-tokens", 5000, "--name", "mine", "--out", out, "--plot", picture, "--json")
    found = json.loads(ran.output)
    assert found["held_out"]["mape"] < 3 and found["profile"]["name"] == "mine"
    made = profile(f"file:{out}")
    assert isinstance(made, Profile) and made.kv_tokens == 5000 and made.numbers.tolist() == found["profile"]["numbers"]
    assert json.loads(out.read_text())["fit"]["rows"] == 200
    assert picture.read_bytes().startswith(b"\x89PNG")
    text = call("fit", measured, "--kv-tokens", 5000).output
    assert "held_out" in text and "context" in text


def test_drawing_needs_a_roofline_a_format_and_matplotlib(tmp_path, measured, monkeypatch):
    table = read_iterations(measured)
    with pytest.raises(BadInput, match="only rooflines"):
        plot_fit(profile("vllm-opt-13b-tp1"), table, tmp_path / "a.png")
    with pytest.raises(BadInput, match="foo"):
        plot_fit(profile("unit"), table, tmp_path / "a.foo")
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    with pytest.raises(BadInput, match="pip install matplotlib"):
        plot_fit(profile("unit"), table, tmp_path / "a.png")
