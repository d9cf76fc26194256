"""Times that nobody measured: the constants behind them, what they must obey, and how well they told what was."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from llmqueue_gym._jit import records
from llmqueue_gym.engines.batching.cost import FORMS, iteration_time
from llmqueue_gym.engines.batching.tables import BATCH
from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.serving.seconds import decode_seconds, prefill_seconds
from llmqueue_gym.profiles import PROFILES, profile
from llmqueue_gym.profiles.clocks import LEVELS, slowed
from llmqueue_gym.profiles.estimated import REPLICAS
from llmqueue_gym.profiles.gpus import GPUS, H100, H200, L40S
from llmqueue_gym.profiles.models import DEEPSEEK_V3, LLAMA31_8B, LLAMA31_70B, QWEN3_30B_A3B, QWEN3_32B
from llmqueue_gym.profiles.physics import ERROR, FITTED, roofline
from llmqueue_gym.profiles.vllm_log import kv_capacity_told
from llmqueue_gym.theory.clairvoyant import roofline_below

RESULT = Path(__file__).parents[1] / "experiments" / "results" / "roofline_factors.json"
BATCHES = [(0, 1, 100), (0, 8, 1000), (0, 64, 1000), (0, 256, 4000), (100, 0, 0), (2048, 0, 0), (2000, 48, 700)]


def seconds(form, numbers, prompt, decodes, context):
    batch = np.zeros(1, BATCH)
    sums = (decodes * context, prompt**2 / 2, prompt**2)
    batch[0] = (prompt + decodes, prompt > 0, prompt, decodes, *sums, 0, prompt)
    return float(iteration_time(FORMS.index(form), np.asarray(numbers, float), records(batch)[0]))


def all_seconds(*told):
    return np.array([seconds(*told, *batch) for batch in BATCHES])


# Constants, against configurations that their makers published.


def attention_and_rest(hidden, heads, kv_heads, head_dim, norms):
    """Return the parameters of a layer without its feed-forward part."""
    return hidden * head_dim * (2 * heads + 2 * kv_heads) + norms


def test_parameters_follow_from_the_configurations():
    for model, inner in ((LLAMA31_8B, 14_336), (LLAMA31_70B, 28_672), (QWEN3_32B, 25_600)):
        norms = 2 * model.hidden + (256 if model is QWEN3_32B else 0)  # Qwen3 has norms of queries and keys
        layer = attention_and_rest(model.hidden, model.heads, model.kv_heads, 128, norms) + 3 * model.hidden * inner
        assert model.parameters == model.layers * layer + (2 * model.vocabulary + 1) * model.hidden
        assert model.multiplied == model.parameters - 2 * model.vocabulary * model.hidden
    made = QWEN3_30B_A3B
    experts = 48 * 128 * 3 * 2048 * 768
    layer = attention_and_rest(2048, 32, 4, 128, 2 * 2048 + 256) + 2048 * 128
    assert made.expert_parameters == experts
    assert made.parameters == 48 * layer + experts + (2 * made.vocabulary + 1) * 2048
    assert made.multiplied + 2 * made.vocabulary * 2048 == pytest.approx(3.35e9, rel=0.01)  # the A3B of its name


def test_parameters_of_deepseek_v3():
    hidden, queries, latent, heads = 7168, 1536, 512, 128
    attention = hidden * queries + queries + queries * heads * 192 + hidden * (latent + 64) + latent
    attention += latent * heads * (128 + 128) + heads * 128 * hidden + 2 * hidden
    expert = 3 * hidden * 2048
    with_experts = 257 * expert + 256 * hidden + 256
    total = 61 * attention + 3 * 3 * hidden * 18_432 + 58 * with_experts + (2 * 129_280 + 1) * hidden
    assert DEEPSEEK_V3.parameters == total == pytest.approx(671e9, rel=1e-3)
    assert DEEPSEEK_V3.expert_parameters == 58 * 256 * expert
    assert DEEPSEEK_V3.multiplied + 2 * 129_280 * hidden == pytest.approx(
        37e9, rel=0.02
    )  # active, as its authors count
    assert 2 * DEEPSEEK_V3.heads * 2 * DEEPSEEK_V3.head_dim == 2 * heads * (192 + 128)  # operations of a pair, a layer


def test_bytes_of_a_token():
    assert LLAMA31_70B.kv_bytes_per_token == 327_680 and LLAMA31_70B.kv_bytes(1) == 163_840
    assert QWEN3_30B_A3B.kv_bytes_per_token == 2 * 48 * 4 * 128 * 2 == 98_304
    assert DEEPSEEK_V3.kv_bytes_per_token == 576 * 61 * 2 == 70_272
    # Kept once for all GPUs where heads can be split, else on each.
    assert LLAMA31_70B.kv_bytes_held(8) == 327_680 and LLAMA31_70B.kv_bytes_held(16) == 2 * 327_680
    assert QWEN3_30B_A3B.kv_bytes_held(4) == 98_304 and QWEN3_30B_A3B.kv_bytes_held(8) == 2 * 98_304
    assert DEEPSEEK_V3.kv_bytes_held(8) == 8 * 70_272


def test_capacity_by_hand():
    memory = 80 * 2**30
    assert LLAMA31_70B.kv_tokens_on(H100, 4) == (0.9 * 4 * memory - 2 * 70_553_706_496) // 327_680
    made = profile("h100x4-llama3.1-70b")
    assert made.kv_tokens == LLAMA31_70B.kv_tokens_on(H100, 4) == 513_092
    each = 0.9 * 143_771 * 2**20 - 671_026_419_200 / 8  # of one GPU, beside its eighth of 8-bit weights
    assert profile("h200x8-deepseek-v3").kv_tokens == each // 70_272
    assert DEEPSEEK_V3.kv_tokens_on(H200, 7, 1) < DEEPSEEK_V3.kv_tokens_on(H200, 8, 1)


def test_eight_bit_caches_hold_twice_as_much_and_are_read_in_half_the_time():
    made, half = profile("h100x4-llama3.1-70b"), profile("h100x4-llama3.1-70b:kv=fp8")
    assert half.kv_bytes_per_token == made.kv_bytes_per_token / 2
    assert abs(half.kv_tokens - 2 * made.kv_tokens) <= 1
    np.testing.assert_allclose(half.numbers, made.numbers * [1, 1, 1, 1, 0.5])
    with pytest.raises(BadInput, match="kv='fp4' must be fp16 or fp8"):
        profile("h100x4-llama3.1-70b:kv=fp4")


# Times.


def test_a_roofline_by_hand():
    exact = replace(FITTED, weights=1, cache=1, compute=1, attention=1, link=1, overlap=0, sum=0, layer=0, step=0)
    form, numbers = roofline(LLAMA31_8B, H100, factors=exact)
    embedding = 128_256 * 4096
    read = 2 * (8_030_261_248 - embedding) / 3.35e12
    token = 2 * (8_030_261_248 - 2 * embedding) / 989.5e12
    pair, context = 4 * 32 * 32 * 128 / 989.5e12, 131_072 / 3.35e12
    assert form == "roofline"
    np.testing.assert_allclose(numbers, [read, 0, token, pair, context], rtol=1e-12)
    _, four = roofline(LLAMA31_8B, H100, 4, factors=exact)
    sums = 2 * 32 * 4096 * 2 * 2 * 3 / 4 / 450e9  # a ring sends each number there and back but for one part in four
    np.testing.assert_allclose(four, [read / 4, 0, token / 4 + sums, pair / 4, context / 4], rtol=1e-12)
    _, eight_bits = roofline(LLAMA31_8B, H100, weight_bytes=1, factors=exact)
    np.testing.assert_allclose(eight_bits, [read / 2, 0, token / 2, pair, context], rtol=1e-3)


@pytest.mark.parametrize("tokens", [1, 7, 64, 600])
def test_the_share_of_experts_that_a_batch_reads_is_that_of_random_choices(tokens):
    experts, chosen, draws = 128, 8, 2000
    rng = np.random.default_rng(tokens)
    read = np.array(
        [len(np.unique(rng.random((tokens, experts)).argpartition(chosen, axis=1)[:, :chosen])) for _ in range(draws)]
    )
    told = seconds("experts", [0, 1, chosen / experts, 0, 0, 0, 0], 0, tokens, 1)
    error = 4 * read.std() / experts / np.sqrt(draws)
    assert abs(told - read.mean() / experts) <= error + 1e-12
    assert told == pytest.approx(1 - (1 - chosen / experts) ** tokens, rel=1e-12)


def test_without_experts_chosen_among_the_two_forms_are_one():
    floor, base, token, pair, context = numbers = profile("h100-llama3.1-8b").numbers
    dense = all_seconds("roofline", numbers)
    np.testing.assert_allclose(all_seconds("experts", [floor, 0, 1, base / floor, token, pair, context]), dense)
    every = [0, floor, 1, base / floor, token, pair, context]  # all experts for each token
    np.testing.assert_allclose(all_seconds("experts", every), dense)


@pytest.mark.parametrize("model", [LLAMA31_70B, QWEN3_30B_A3B, DEEPSEEK_V3], ids=lambda model: model.name)
@pytest.mark.parametrize("better", ["bandwidth", "flops", "flops8", "link"])
def test_a_better_gpu_is_never_slower(model, better):
    weight_bytes = 1 if better == "flops8" else 2
    slow = all_seconds(*roofline(model, H100, 8, weight_bytes))
    fast = all_seconds(*roofline(model, replace(H100, **{better: 1.5 * getattr(H100, better)}), 8, weight_bytes))
    assert (fast <= slow).all() and fast.sum() < slow.sum()
    assert (all_seconds(*roofline(model, H100, 8, weight_bytes, 1)) <= slow).all()


@pytest.mark.parametrize("name", ["h100-qwen3-30b-a3b", "h200x8-deepseek-v3", "h100x4-llama3.1-70b"])
def test_policies_and_floors_have_the_times_of_the_engine(name):
    made = profile(name)
    prompts = np.array([16, 700, 9000])
    want = [seconds(made.form, made.numbers, int(n), 0, 0) for n in prompts]
    np.testing.assert_allclose(prefill_seconds(made, prompts), want)
    for decodes in (1, 30, 300):
        want = seconds(made.form, made.numbers, 0, decodes, 900)
        assert decode_seconds(made, decodes, 900) == pytest.approx(want)
    assert (all_seconds("roofline", roofline_below(made)) <= all_seconds(made.form, made.numbers) + 1e-15).all()


@pytest.mark.parametrize("change", [{"numbers": np.array([1, 1, 1.5, 0.5, 0, 0, 0])}, {"numbers": np.zeros(7)}])
def test_wrong_numbers_of_experts(change):
    with pytest.raises(BadInput, match=r"must be 1 at most|some time"):
        replace(profile("h100-qwen3-30b-a3b"), **change)


# How well they told what was measured.


def test_factors_are_those_that_were_fitted():
    found = json.loads(RESULT.read_text(encoding="utf-8"))
    for name, value in asdict(FITTED).items():
        assert value == pytest.approx(found["factors"][name], rel=5e-3), name
    off = [row["held_out"]["mean_absolute"] for row in found["sources"]]
    assert len(off) == 8 and f"{100 * min(off):.0f} to {100 * max(off):.0f} % off" in ERROR
    assert f"{100 * np.mean(off):.0f} % on average" in ERROR
    for key, words in (("e2e", "end-to-end times of four replayed runs of vLLM"), ("ttft", "first token")):
        errors = [100 * row[key]["mean"] for row in found["simulated"]]
        assert len(errors) == 4 and f"{words} {min(errors):.0f} to +{max(errors):.0f} %" in ERROR


@pytest.mark.parametrize("name", REPLICAS)
def test_estimates_say_so(name):
    made = profile(name)
    assert made.error == ERROR and made.estimated.startswith("all times") and name in PROFILES
    assert "estimated" in made.power.source or made.gpu.endswith("H100-80GB")
    assert made.embodied_kg > 0 and "LLMCarbon" in made.embodied_source


def test_a_gpu_of_each_kind_and_its_carbon():
    assert set(GPUS) >= {"H100-80GB", "H200-141GB", "B200-180GB", "MI300X-192GB", "L40S-48GB"}
    assert H100.embodied_kg == pytest.approx(14.652 + 0.4 * 80)
    assert L40S.flops8 == pytest.approx(2 * L40S.flops, rel=0.02)  # both without sparsity


# Clocks.


def test_a_capped_h100_reads_prompts_slower_and_decodes_as_before():
    made, capped = profile("splitwise-h100-llama2-70b"), profile("splitwise-h100-llama2-70b:clock=350w")
    ratio = all_seconds(capped.form, capped.numbers) / all_seconds(made.form, made.numbers)
    np.testing.assert_allclose(ratio, [1, 1, 1, 1, 1.3, 1.3, 1.3])
    assert capped.power.prefill == capped.power.decode == 8 * 350 and capped.power.idle == made.power.idle
    assert "Splitwise" in capped.source and "at 350w" in capped.estimated


def test_a_lower_clock_saves_a_fifth_of_the_energy_and_a_cap_a_quarter():
    made, low = profile("h100-llama3.1-8b"), profile("h100-llama3.1-8b:clock=1.6ghz")
    np.testing.assert_array_equal(made.numbers, low.numbers)
    assert low.power.decode / made.power.decode == low.power.prefill / made.power.prefill == pytest.approx(0.8)
    full, cap = profile("a100-llama3-8b"), profile("a100-llama3-8b:clock=175w")
    rate = all_seconds(full.form, full.numbers) / all_seconds(cap.form, cap.numbers)
    np.testing.assert_allclose(rate, 1 - 0.061)
    energy = cap.power.decode / full.power.decode / rate
    np.testing.assert_allclose(energy, 1 - 0.24)
    assert cap.power.decode == pytest.approx(178.4, abs=0.1)  # W; the cap is 175


@pytest.mark.parametrize("name", ["h100-llama3.1-8b", "h100-qwen3-30b-a3b", "distserve-opt-13b-tp1"])
def test_slowed_times_lie_between_the_factors(name):
    made = profile(name)
    before = all_seconds(made.form, made.numbers)
    ratio = all_seconds(made.form, slowed(made.form, made.numbers, 1.3, 1.0)) / before
    assert (ratio >= 1 - 1e-12).all() and (ratio <= 1.3 + 1e-12).all() and ratio[5] > 1.2 and ratio[0] < 1.05
    both = all_seconds(made.form, slowed(made.form, made.numbers, 1.2, 1.2)) / before
    assert (both >= 1.15).all() and (both <= 1.2 + 1e-12).all()  # DistServe's host is slowed by no clock


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("h100-llama3.1-8b:clock=1.7ghz", "did you mean '1.6ghz'"),
        ("b200-llama3.1-70b:clock=1.6ghz", "measured on H100-80GB alone, not on 1x B200-180GB; choose full"),
        ("unit:clock=350w", "not on any"),
        ("unit:pue=0.5", "pue=0.5 must be at least 1"),
        ("unit:grid=-1", "grid=-1 must lie between"),
        ("unit:price=-1", "price_per_hour=-1 must lie between"),
        ("unit:kv_log=nowhere.log", "cannot read nowhere.log"),
        ("unit:kv_log=nowhere.log,kv_tokens=5", "give one of them"),
    ],
)
def test_wrong_specs(spec, words):
    with pytest.raises(BadInput, match=words) as caught:
        profile(spec)
    assert "\n" not in str(caught.value)


def test_every_clock_has_a_source():
    assert all(level.source and level.estimated and level.gpu in GPUS for level in LEVELS.values())


# Capacity by a log.

LINE = "(EngineCore_DP{} pid=7) INFO 12-11 00:06:53 [kv_cache_utils.py:1286] GPU KV cache size: {:,} tokens"


def test_capacity_of_a_log(tmp_path):
    assert kv_capacity_told("GPU KV cache size: 1,234,560 tokens") == 1_234_560
    lines = ["INFO starts", LINE.format(0, 686_320), LINE.format(1, 686_304), "INFO GPU KV cache usage: 3.0%"]
    (tmp_path / "vllm.log").write_text("\n".join(lines))
    assert kv_capacity_told(tmp_path / "vllm.log") == 686_304
    made = profile(f"h100x4-llama3.1-70b:kv_log={tmp_path}/vllm.log,price=9.5,grid=20")
    assert (made.kv_tokens, made.price_per_hour, made.price_source, made.grid) == (686_304, 9.5, "given", 20)
    assert "kv_tokens" not in made.estimated
    (tmp_path / "other.log").write_text("INFO GPU KV cache usage: 3.0%\n")
    with pytest.raises(BadInput, match="has no line 'GPU KV cache size: N tokens'"):
        kv_capacity_told(tmp_path / "other.log")


def test_the_command_tells_the_capacity_of_a_log(run, run_json, tmp_path):
    (tmp_path / "vllm.log").write_text("\n".join([LINE.format(0, 686_320), LINE.format(1, 686_304)]))
    found = run_json(f"profile capacity {tmp_path}/vllm.log --profile h100x4-llama3.1-70b")
    assert found == {"kv_tokens": 686_304, "profile": "h100x4-llama3.1-70b", "profile_kv_tokens": 513_092}
    status, out, err = run("profile", "capacity", "GPU KV cache size: 1,234 tokens")
    assert (status, err) == (0, "") and "1,234 tokens: NAME:kv_tokens=1234" in out
    status, out, err = run("profile", "capacity", tmp_path / "none.log")
    assert (status, out) == (2, "") and "cannot read" in err and err.count("\n") == 1
    (tmp_path / "table.csv").write_text("prefill_tokens,decodes,context,ms\n1,0,0,3\n")
    status, _, err = run("profile", "fit", tmp_path / "table.csv")
    assert status == 2 and "tell it with --kv-tokens" in err and err.count("\n") == 1


def test_a_fit_takes_the_capacity_from_the_log(run_json, tmp_path):
    step = (
        "INFO Engine 000: Iteration({}): 0 context requests, 0 context tokens, {} generation requests, {} generation "
    )
    step += "tokens, iteration elapsed time: {:.2f} ms, GPU KV cache usage: {}%"
    lines = [LINE.format(0, 50_000), *(step.format(k, 1 + k % 9, 1 + k % 9, 9 + k % 9, 1 + k % 7) for k in range(60))]
    (tmp_path / "vllm.log").write_text("\n".join(lines))
    assert run_json(f"profile fit {tmp_path}/vllm.log")["profile"]["kv_tokens"] == 50_000


def test_the_list_tells_measured_from_estimated(run, run_json):
    status, out, _ = run("profile", "list")
    measured, estimates = out.split("estimated, from data sheets")
    assert status == 0 and "a100-llama3-8b" in measured and "h100x4-llama3.1-70b" in estimates
    assert all(len(line) <= 80 for line in out.splitlines() if "│" in line)
    assert {entry["name"] for entry in run_json("profile list")["profiles"]} == set(PROFILES) - {"file"}
