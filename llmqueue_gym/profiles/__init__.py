"""Cost profiles, one file for each source. To add one: write the file and add its line here."""

from llmqueue_gym.profiles.base import Power, Profile
from llmqueue_gym.registry import Registry

__all__ = ["PROFILES", "Power", "Profile", "profile"]

_HERE = "llmqueue_gym.profiles"

PROFILES = Registry(
    "profile",
    {
        "a100-llama3-8b": f"{_HERE}.vidur:a100_llama3_8b",
        "a100-llama2-7b": f"{_HERE}.vidur:a100_llama2_7b",
        "a100-llama2-70b-tp2": f"{_HERE}.vidur:a100_llama2_70b_tp2",
        "h100-llama2-7b": f"{_HERE}.vidur:h100_llama2_7b",
        "h100-llama2-70b-tp2": f"{_HERE}.vidur:h100_llama2_70b_tp2",
        "distserve-opt-13b-tp1": f"{_HERE}.distserve:distserve_opt_13b_tp1",
        "distserve-opt-13b-tp2": f"{_HERE}.distserve:distserve_opt_13b_tp2",
        "distserve-opt-13b-tp4": f"{_HERE}.distserve:distserve_opt_13b_tp4",
        "distserve-opt-66b-tp4": f"{_HERE}.distserve:distserve_opt_66b_tp4",
        "vllm-opt-13b-tp1": f"{_HERE}.distserve:vllm_opt_13b_tp1",
        "splitwise-a100-llama2-70b": f"{_HERE}.splitwise:splitwise_a100_llama2_70b",
        "splitwise-h100-llama2-70b": f"{_HERE}.splitwise:splitwise_h100_llama2_70b",
        "splitwise-a100-bloom-176b": f"{_HERE}.splitwise:splitwise_a100_bloom_176b",
        "splitwise-h100-bloom-176b": f"{_HERE}.splitwise:splitwise_h100_bloom_176b",
        "gpt3-175b": f"{_HERE}.gpt3:gpt3_175b",
        "unit": f"{_HERE}.unit:unit",
        "file": f"{_HERE}.files:read_profile",
    },
    Profile,
)
profile = PROFILES.__call__  # a profile from a spec such as `unit:kv_tokens=100` or `file:my_gpu.json`, or itself
