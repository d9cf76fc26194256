"""What first come first served keeps up with, requests/s, by fingerprint and cost profile.

Found by bisection, to 2 %: whether it keeps up is seen on the requests played three times over without a break, under
the rules of vLLM v1 (`serving.scenario.capacity`). A recording is taken whole, with its own arrival times; elsewhere
20,000 requests are drawn with seed 0 and Poisson arrivals. A fingerprint of requests: how many, their
prompt tokens, their output tokens, and the last arrival in s before it is scaled. Computed by
`experiments/find_capacities.py`; `experiments/results/capacities.json` says when and with what.
"""

FOUND: dict[tuple[int, int, int, float], dict[str, float]] = {
    # azure-conv, azure2023_conv.csv.gz
    (19366, 22361870, 4088665, 3501.722): {"a100-llama3-8b": 7.823642, "a100-llama2-70b-tp2": 1.339158},
    # azure-code, azure2023_code.csv.gz
    (8819, 18059974, 245896, 3435.948): {"a100-llama3-8b": 6.144123, "a100-llama2-70b-tp2": 1.304312},
    # mooncake-conv, mooncake_conversation.csv.gz
    (20000, 240773114, 6880731, 19798.892): {"a100-llama3-8b": 0.457676},
    # mooncake-conv, mooncake_conversation.csv.gz
    (20000, 198967517, 6743587, 19798.892): {"a100-llama2-70b-tp2": 0.103702},
    # deepseek-r1, servegen_deepseek-r1_sampled.csv.gz
    (20000, 22613053, 58131773, 1472.178): {"a100-llama3-8b": 0.679907, "a100-llama2-70b-tp2": 0.067179},
    # azure-conv, embedded tables
    (20000, 22930675, 4235138, 19798.892): {"a100-llama3-8b": 7.859105, "a100-llama2-70b-tp2": 1.335454},
    # azure-code, embedded tables
    (20000, 40724104, 566899, 19798.892): {"a100-llama3-8b": 6.168045, "a100-llama2-70b-tp2": 1.3118},
    # mooncake-conv, embedded tables
    (20000, 239273302, 6892711, 19798.892): {"a100-llama3-8b": 0.461609},
    # mooncake-conv, embedded tables
    (20000, 197541797, 6859306, 19798.892): {"a100-llama2-70b-tp2": 0.103438},
    # deepseek-r1, embedded tables
    (20000, 22980405, 59211746, 19798.892): {"a100-llama3-8b": 0.651973, "a100-llama2-70b-tp2": 0.063497},
}
