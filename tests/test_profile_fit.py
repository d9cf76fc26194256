"""Profiles fitted to measured iterations, and how measurements are read."""

from dataclasses import replace

import numpy as np
import pytest
from measured_iterations import TRUE, synthetic, write_csv
from recorded import recorded

from llmqueue_gym._jit import records
from llmqueue_gym.engines.batching.cost import iteration_time
from llmqueue_gym.engines.batching.tables import BATCH
from llmqueue_gym.errors import BadInput
from llmqueue_gym.profiles.fit import COEFFICIENTS, fit
from llmqueue_gym.profiles.iterations import read_iterations

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
    path = recorded("vidur", "reference", f"B_formula-llama3-8b-a100_{name}_iterations.csv")
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


@pytest.mark.parametrize(("told", "expected"), [({"model": "Llama-3-8B"}, 131_072), ({"kv_bytes_per_token": 9.0}, 9)])
def test_the_bytes_of_a_token_are_told_or_those_of_a_known_model(told, expected):
    assert fit(synthetic(100), kv_tokens=1000, **told)[0].kv_bytes_per_token == expected
    assert np.isnan(fit(synthetic(100), kv_tokens=1000)[0].kv_bytes_per_token)


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


SLIPS = {  # of n rows, some of which are changed
    "0.03 ms": ("seconds", lambda old: 3e-5),
    "hours": ("seconds", lambda old: 1e4),
    "another context": ("context", lambda old: 1e4 * old + 1e6),
    "other pairs": ("pairs", lambda old: 1e4 * old + 1e9),
}


@pytest.mark.parametrize("count", [1, 30])
@pytest.mark.parametrize("slip", SLIPS)
def test_slips_do_not_spoil_a_fit(slip, count):
    table, (column, slipped) = synthetic(600, noise=0.03), SLIPS[slip]
    chosen = np.random.default_rng(1).choice(np.flatnonzero(table.pairs * table.context), count, replace=False)
    values = getattr(table, column).copy()
    values[chosen] = slipped(values[chosen])
    made, report = fit(replace(table, **{column: values}), kv_tokens=1000)
    clean, _ = fit(table.rows(np.delete(np.arange(600), chosen)), kv_tokens=1000)
    np.testing.assert_array_equal(made.numbers, clean.numbers)
    assert report.left_out == count and report.rows == 600 and report.held_out.mape < 3
    assert f"left out, {count} of 600 iterations" in made.estimated


def test_a_table_of_slips_is_refused_and_a_rough_fit_is_told():
    table = synthetic(600, noise=0.03)
    mixed = replace(table, seconds=np.where(np.arange(600) % 4 == 0, 3e-5, table.seconds))
    with pytest.raises(BadInput, match="150 of 600 iterations take far more or less than the others would: row 1 "):
        fit(mixed, kv_tokens=1000)
    assert any("the fit is rough" in words for words in fit(synthetic(600, noise=0.4), 1000)[1].warnings)


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


COLUMNS = "context_requests,context_tokens,generation_requests,generation_tokens,elapsed_ms,kv_usage"
LOGGED = [(1, 100, 0, 0, 20.0, 1.0), (1, 50, 1, 1, 15.0, 1.6), (0, 0, 2, 2, 12.0, 1.6), (0, 0, 0, 0, 1.0, 0.0)]
LINE = (
    "(APIServer pid=1) INFO 10-08 13:00:00 [loggers.py:182] Engine 000: Iteration({}): {} context requests, {} context "
    "tokens, {} generation requests, {} generation tokens, iteration elapsed time: {} ms, GPU KV cache usage: {}%\n"
)


def test_what_vllm_logs_is_read(tmp_path):
    lines = "".join(LINE.format(i, *row) for i, row in enumerate(LOGGED))
    other = LINE.format(0, 1, 100, 0, 0, 20.0, 1.0).replace("000", "001")
    (tmp_path / "server.log").write_text(f"INFO, it starts\n{lines}{other}")
    table = read_iterations(tmp_path / "server.log", kv_tokens=10_000)
    assert table.context.tolist() == [0, 101, 162, 0]  # in use when the iteration before ended, and the new tokens
    assert table.tokens.tolist() == [100, 51, 2, 100] and table.seconds.tolist() == [0.02, 0.015, 0.012, 0.02]
    assert table.pairs.tolist() == [5000, 1250, 0, 5000] and "derived from" in table.notes[0]
    for header in (COLUMNS, COLUMNS.replace("elapsed_ms,kv", "Iteration elapsed time (ms),GPU KV cache")):
        again = read_iterations(write_csv(tmp_path / "log.csv", header, LOGGED), kv_tokens=10_000)
        np.testing.assert_array_equal(again.context, table.context[:3])
    shares = [[*row[:5], row[5] / 100] for row in LOGGED]
    again = read_iterations(write_csv(tmp_path / "log.csv", COLUMNS, shares), kv_tokens=10_000)
    np.testing.assert_allclose(again.context, table.context[:3])


def test_iterations_that_vllm_calls_dummy_and_those_on_cpus_are_read(tmp_path):
    lines = [LINE.format(i, *row) for i, row in enumerate(LOGGED)]
    (tmp_path / "one.log").write_text("".join(lines))
    marked = [*lines[:3], lines[3].replace(" ms,", " ms (dummy),")]
    (tmp_path / "other.log").write_text("".join(marked).replace("GPU", "CPU"))
    one, other = (read_iterations(tmp_path / f"{name}.log", kv_tokens=10_000) for name in ("one", "other"))
    np.testing.assert_array_equal(one.context, other.context)


def test_logs_of_vllm_without_what_is_needed(tmp_path):
    old = LINE.format(0, *LOGGED[0]).partition(", GPU")[0]
    (tmp_path / "old.log").write_text(old)
    with pytest.raises(BadInput, match="logs no use of the KV cache here"):
        read_iterations(tmp_path / "old.log", kv_tokens=10)
    narrow = write_csv(tmp_path / "narrow.csv", COLUMNS.removesuffix(",kv_usage"), [row[:5] for row in LOGGED])
    with pytest.raises(BadInput, match="no column 'kv_usage', from which the context"):
        read_iterations(narrow, kv_tokens=10)
    with pytest.raises(BadInput, match="kv_tokens=0 must tell"):
        read_iterations(write_csv(tmp_path / "log.csv", COLUMNS, LOGGED))
    full = write_csv(tmp_path / "full.csv", COLUMNS, [[*row[:5], "150%"] for row in LOGGED])
    with pytest.raises(BadInput, match="row 1, column 'kv_usage': '150%' is more than the whole cache"):
        read_iterations(full, kv_tokens=10)


def test_times_in_another_unit_are_told(tmp_path):
    rows = [[100, 2, 300, 20.0 + k] for k in range(30)]
    doubted = read_iterations(write_csv(tmp_path / "a.csv", "prefill_tokens,decodes,context,seconds", rows))
    assert "another unit than the header says" in doubted.notes[-1]
    assert not any(
        "another unit" in note
        for note in read_iterations(write_csv(tmp_path / "b.csv", "prefill_tokens,decodes,context,ms", rows)).notes
    )
    both = write_csv(tmp_path / "c.csv", "prefill_tokens,decodes,context,seconds,ms", [[100, 2, 300, 0.02, 20.3]])
    assert read_iterations(both).seconds == 0.02


@pytest.mark.parametrize(
    ("header", "row", "words"),
    [
        (
            "prefill_tokens,decodes,context,seconds,ms",
            "5,1,9,0.02,0.02",
            "row 1, column 'ms': 2e-05 s is not the 0.02 s",
        ),
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
