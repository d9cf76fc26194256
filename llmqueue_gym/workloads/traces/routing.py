"""Published answers of a weak and of a strong model to the same questions, to choose between them.

The compact form has a row for each question: dataset, subject, prompt_tokens, weak_correct, strong_correct,
weak_output_tokens, strong_output_tokens; the last two may be empty. RouteLLM publishes such answers (Ong et al.,
"RouteLLM: Learning to Route LLMs with Preference Data", ICLR 2025): to 14,042 questions of MMLU and 1,319 of GSM8K, by
Mixtral-8x7B and gpt-4-1106-preview.
"""

import os
from dataclasses import dataclass, replace

import numpy as np

from llmqueue_gym.columns import read_columns
from llmqueue_gym.errors import BadInput, nearest

COLUMNS = ("dataset", "subject", "prompt_tokens")
OF_MODELS = ("correct", "output_tokens")
MODELS = ("weak", "strong")


@dataclass(frozen=True, eq=False)
class Answers:
    """Questions and what came of two models.

    Attributes:
        dataset: `(n,)`, names.
        subject: `(n,)`, names.
        prompts: `(n,)`, tokens.
        right: `(n, 2)`, bool, whether the weak model and the strong one answer rightly.
        outputs: `(n, 2)`, tokens of their answers; 0 where they were not published, as of MMLU.
    """

    dataset: np.ndarray
    subject: np.ndarray
    prompts: np.ndarray
    right: np.ndarray
    outputs: np.ndarray

    def __len__(self) -> int:
        return len(self.prompts)

    def of(self, dataset: str) -> "Answers":
        """Return those of one data set."""
        known = np.unique(self.dataset)
        if dataset not in known:
            raise BadInput(f"unknown dataset {dataset!r}; {nearest(dataset, known.tolist())}")
        rows = self.dataset == dataset
        tables = (self.dataset, self.subject, self.prompts, self.right, self.outputs)
        return Answers(*(table[rows] for table in tables))


def load_answers(path: str | os.PathLike[str]) -> Answers:
    """Read answers in compact form, plain or gzipped.

    Raises:
        BadInput: the file cannot be read, lacks a column, or has a cell that is no number of tokens, or neither 0 nor 1
            where it says whether an answer is right; the message names file, row and column.
    """
    of_models = [f"{model}_{what}" for what in OF_MODELS for model in MODELS]
    dataset, subject, prompts, *columns = read_columns(path, [*COLUMNS, *of_models])
    for k in (2, 3):
        columns[k] = replace(columns[k], cells=[cell or "0" for cell in columns[k].cells])
    numbers = [column.counts() for column in columns]
    for column, values in zip(columns[:2], numbers[:2], strict=True):
        for row in np.flatnonzero(values > 1).tolist():
            column.refuse(row, f"{column.cells[row]!r} is neither 0, for wrong, nor 1, for right")
    right, outputs = np.column_stack(numbers[:2]).astype(bool), np.column_stack(numbers[2:])
    return Answers(np.array(dataset.cells), np.array(subject.cells), prompts.counts(), right, outputs)
