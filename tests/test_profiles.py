"""Cost profiles: sound on a grid, true to their sources, and what they refuse."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
from measured_iterations import TRUE
from recorded import recorded

from llmqueue_gym._jit import records
from llmqueue_gym.engines.batching.cost import FORMS, iteration_time
from llmqueue_gym.engines.batching.tables import BATCH
from llmqueue_gym.errors import BadInput
from llmqueue_gym.profiles import PROFILES, profile
from llmqueue_gym.profiles.base import COUNTS, kv_bytes, kv_capacity
from llmqueue_gym.profiles.models import LLAMA2_7B, LLAMA2_70B, LLAMA3_8B

NAMES = [name for name in PROFILES if name != "file"]


def seconds(made, prompts=(), contexts=(), cached=0):
    """Return the time of a batch of whole prompts, or of one chunk behind `cached` tokens, and of decodes."""
    new = np.array(prompts, dtype=float)
    batch = np.zeros(1, BATCH)
    batch["tokens"] = new.sum() + len(contexts)
    batch["prefills"], batch["prefill_tokens"], batch["decodes"] = len(new), new.sum(), len(contexts)
    batch["context"], batch["squares"] = np.sum(contexts), (new**2).sum()
    batch["pairs"], batch["pages"] = (new * (cached + new / 2)).sum(), len(new) * -(-cached // 64)
    return float(iteration_time(FORMS.index(made.form), made.numbers, records(batch)[0]))


# Every profile.


@pytest.mark.parametrize(("decodes", "k"), [(3, 4), (400, 7)])
def test_a_mixed_batch_of_phases_pays_both_slopes_and_the_larger_base_once(decodes, k):
    made = profile("distserve-opt-13b-tp1")
    x, contexts = made.numbers, [1000] * decodes
    slopes = x[1] * 512 + x[2] * 512**2 + x[k + 1] * 1000 * decodes + x[k + 2] * decodes
    host = x[10] + x[11] * (512 + decodes)
    assert seconds(made, [512], contexts) == pytest.approx(max(x[0], x[k]) + slopes + host, rel=1e-12)


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


@pytest.mark.parametrize("name", [name for name in NAMES if not name.startswith("splitwise-sim")])  # raw medians
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


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("splitwise-sim")])
def test_splitwise_sim_reads_decode_times_at_their_number(name):
    with open(recorded("splitwise", "perf_knots.csv")) as stream:
        rows = list(csv.DictReader(stream))
    made, model = profile(name), next(row["model"] for row in rows if name.endswith(row["model"]))
    gpu = name.removeprefix("splitwise-sim-").removesuffix(f"-{model}").replace("100", "100-80gb")
    knots = [r for r in rows if (r["model"], r["hardware"]) == (model, gpu)]
    tokens, prompts, decodes = (np.array([float(r[k]) for r in knots]) for k in ("tokens", "prompt_s", "token_s"))
    assert len(knots) == 9
    np.testing.assert_allclose([seconds(made, [n]) for n in tokens], prompts, rtol=1e-12)
    first = decodes[0] + (decodes[1] - decodes[0]) / 128 * (7 - 128)
    assert seconds(made, (), [900] * 7) == pytest.approx(first, rel=1e-12)


@pytest.mark.parametrize("name", [n for n in NAMES if n.startswith("splitwise") and "-sim-" not in n])
def test_splitwise_tables_are_the_medians_of_the_measured_rows(name):
    path = recorded("traces", "tables", "splitwise_perf_model.csv")
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
    path = recorded("vidur", "profile", "fitted_coefficients.json")
    models = {"Llama-2-70B": "Llama-2-70b-hf", "Llama-2-7B": "Llama-2-7b-hf", "Llama-3-8B": "Meta-Llama-3-8B"}
    fits = json.loads(path.read_text())["fits"]
    for made in (profile(name) for name in NAMES if "microsoft/vidur" in profile(name).source):
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
