"""Reading (true, predicted) length pairs from a csv or csv.gz file."""

import numpy as np

from llmqueue_gym.columns import read_columns, read_header

# Names looked for where the caller gives none: the compact form, SSJF's files, Block's (Vidur's) files.
TRUE = ("output_tokens", "output_token_length", "num_decode_tokens")
PREDICTED = ("predicted_tokens", "predicted_class5", "predicted_length", "num_predicted_decode_tokens")


def read_pairs(file: str, true: str = "", predicted: str = "") -> tuple[np.ndarray, np.ndarray]:
    """Read two columns of lengths.

    Args:
        file: csv, or csv.gz, with a header.
        true: name of the column of true lengths; empty takes the first of `TRUE` that the file has.
        predicted: likewise for predictions, from `PREDICTED`.

    Returns:
        true and predicted lengths, each `(n_pairs,)`, in the file's unit.

    Raises:
        BadInput: the file cannot be read or is empty, a column is missing, or a value is not a number >= 0; it names
            the file, the data row (from 1) and the column.
    """
    header = read_header(file)
    true = true or next((name for name in TRUE if name in header), TRUE[0])
    predicted = predicted or next((name for name in PREDICTED if name in header), PREDICTED[0])
    truths, predictions = read_columns(file, [true, predicted])
    return truths.numbers(), predictions.numbers()
