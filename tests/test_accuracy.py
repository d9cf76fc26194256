import json
from pathlib import Path

import numpy as np
from accuracy import RESULT, markdown, padded


def test_tokens_are_padded_to_the_sizes_that_vllm_captures():
    tokens = np.array([1, 2, 3, 4, 5, 8, 9, 249, 256, 257, 512, 513, 2048])
    wanted = [1, 2, 4, 4, 8, 8, 16, 256, 256, 272, 512, 513, 2048]
    np.testing.assert_array_equal(padded(tokens, 512), wanted)
    np.testing.assert_array_equal(padded(np.array([255, 256, 257]), 256), [256, 256, 257])


def test_the_page_has_the_stored_numbers():
    stored = json.loads(RESULT.with_suffix(".json").read_text())
    assert RESULT.with_suffix(".md").read_text() == markdown(stored["runs"])
    off = [split["held_out"]["e2e"]["median_ape"] for run in stored["runs"] for split in run["splits"]]
    assert stored["median_e2e"] == np.median(off) and stored["worst_e2e"] == max(off)
    assert markdown(stored["runs"]).strip() in (Path(__file__).parents[1] / "docs" / "accuracy.md").read_text()
