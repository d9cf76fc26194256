"""Which numbers stand in the library's tables of output lengths, and how were they computed?

Prints the body of `llmqueue_gym/workloads/requests/tables.toml` (joint laws of prompt and output lengths) and that of
`llmqueue_gym/predictors/lengths/ssjf.toml` from the data, an optional folder beside the project.
"""

from pathlib import Path
from textwrap import fill

import numpy as np

from llmqueue_gym.columns import read_columns
from llmqueue_gym.workloads.requests.lengths import LEVELS

DATA = Path(__file__).parents[2] / "shared" / "traces" / "data"
FILES = {
    "azure-conv": "azure2023_conv",
    "azure-code": "azure2023_code",
    "mooncake-conv": "mooncake_conversation",
    "deepseek-r1": "servegen_deepseek-r1_sampled",
    "sharegpt": "sharegpt_8k_lengths",
    "lmsys-arena": "vtc_lmsys_arena",
}
OCTILES = 8
DECILES = 10
CLASSES = 5


def main() -> None:
    """Print all tables."""
    for name, file in FILES.items():
        columns = read_columns(DATA / f"{file}.csv.gz", ["prompt_tokens", "output_tokens"])
        prompts, outputs = (column.counts() for column in columns)
        served = outputs > 0
        prompts, outputs = prompts[served], outputs[served]
        groups = np.array_split(outputs[np.argsort(prompts, kind="stable")], OCTILES)
        means = f"mean prompt {prompts.mean():.1f}, mean output {outputs.mean():.1f} tokens"
        correlation = np.corrcoef(prompts, outputs)[0, 1]
        print(f"\n# {len(prompts):,} requests, {means}, correlation {correlation:.2f}.")
        print(f"# Left out: {int((~served).sum())} without output.")
        print(f"[{name}]", f"prompt = {lines(quantiles(prompts))}", "output = [", sep="\n")
        print(*(f"    {lines(quantiles(row))}," for row in groups), "]", sep="\n")
    ssjf()


def quantiles(lengths: np.ndarray) -> np.ndarray:
    """Return quantiles at LEVELS of whole lengths `(n,)`, each length v spread evenly over v - 0.5 to v + 0.5."""
    values, counts = np.unique(lengths, return_counts=True)
    share = np.concatenate([[0], np.cumsum(counts)]) / len(lengths)
    edges = np.concatenate([values - 0.5, values + 0.5])  # the distribution function is straight between these
    heights = np.concatenate([share[:-1], share[1:]])
    order = np.lexsort((heights, edges))
    return np.interp(LEVELS, heights[order], edges[order])


def ssjf() -> None:
    """Print how SSJF's predictor distributes the requests of each decile of true lengths over its five classes."""
    columns = read_columns(DATA / "pred_ssjf_lmsys_vicuna13b.csv.gz", ["output_tokens", "predicted_class5"])
    true, label = (column.counts() for column in columns)
    true, label = true[true > 0], label[true > 0]
    edges = np.quantile(true, np.arange(1, DECILES) / DECILES, method="inverted_cdf")
    decile = np.searchsorted(edges, true)  # a length equal to an edge belongs below it
    print(f"edges = {edges.tolist()}")
    print("counts = [")
    for d in range(DECILES):
        print(f"    {np.bincount(label[decile == d], minlength=CLASSES).tolist()},")
    print("]")
    means = [round(float(true[label == c].mean()), 1) for c in range(CLASSES)]
    print(f"tokens = {means}  # of {len(true)} pairs")


def lines(numbers: np.ndarray) -> str:
    """Return numbers with four significant digits as the text of an array, in lines of 118 letters."""
    listed = ", ".join(f"{float(format(x, '.4g')):g}" for x in numbers)
    return fill(f"[{listed}]", 118, subsequent_indent=" ")


if __name__ == "__main__":
    main()
