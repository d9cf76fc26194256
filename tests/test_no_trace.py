"""Files with lengths but no arrivals: the hint names the option that takes them, and following it works."""

import re

import pytest

from llmqueue_gym.errors import BadInput
from llmqueue_gym.workloads.traces import load_trace

HEADERS = {
    "vidur": "num_prefill_tokens,num_decode_tokens,num_total_tokens,pd_ratio",
    "vidur, cut": "num_prefill_tokens,num_decode_tokens",
    "compact": "prompt_tokens,output_tokens",
    "burstgpt": "Model,Request tokens,Response tokens",
    "azure": "ContextTokens,GeneratedTokens",
}


@pytest.mark.parametrize("kind", HEADERS)
def test_the_hint_works_when_followed(refused, run_json, tmp_path, kind):
    path = tmp_path / "lengths.csv"
    row = ",".join("20" for _ in HEADERS[kind].split(","))
    path.write_text(f"{HEADERS[kind]}\n{row}\n")
    options = "simulate --policy fcfs --profile unit"
    hint = re.search(r"--lengths file:\S+", refused(f"{options} --trace {path}")).group()
    assert run_json(f"{options} --rate 0.01 --requests 5 {hint}")["requests"] == 5


def test_lengths_in_json_are_to_be_converted_first(tmp_path):
    path = tmp_path / "lengths.jsonl"
    path.write_text('{"prompt_tokens": 5, "output_tokens": 7}\n')
    with pytest.raises(BadInput, match="convert to csv with the header prompt_tokens,output_tokens") as caught:
        load_trace(path)
    assert f"file:{path}" not in str(caught.value)


@pytest.mark.parametrize("header", ["prompt_tokens,output_tokens,arrival", "ContextTokens,GeneratedTokens,TIMESTAMPS"])
def test_a_misnamed_column_of_time_is_no_file_of_lengths(tmp_path, header):
    path = tmp_path / "trace.csv"
    path.write_text(f"{header}\n5,7,1\n")
    with pytest.raises(BadInput, match="no column") as caught:
        load_trace(path)
    assert "--lengths" not in str(caught.value)
