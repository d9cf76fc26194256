"""A model that has no weights: the files that vLLM reads of one before it would load it."""

import json
from pathlib import Path

UNKNOWN, BEGIN, STOP = 0, 1, 2  # tokens
NAMES = 3  # token of the first name, where there are words
WORDS = 64  # of the longest answer to a name


def made_up_model(folder: str, names: int = 0) -> str:
    """Write a model into a folder, and return that.

    Args:
        folder: that is there.
        names: 0 for a model without words, or how many names its tokenizer knows: n0, n1, ..., and of each the words
            n0:0, n0:1, ... of the answer to it; see `token_of`.
    """
    words = ["<unk>", "<s>", "</s>", *(f"n{i}" for i in range(names))]
    words += [f"n{i}:{k}" for i in range(names) for k in range(WORDS)]
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 1,
        "num_attention_heads": 4,
        "num_key_value_heads": 1,
        "vocab_size": len(words) if names else 1000,
        "max_position_embeddings": 131072,
        "torch_dtype": "float16",
        "bos_token_id": BEGIN,
        "eos_token_id": STOP,
    }
    Path(folder, "config.json").write_text(json.dumps(config))
    if names:
        _write_tokenizer(folder, words)
    return folder


def token_of(name: int, k: int, names: int) -> int:
    """Return the token of word k of the answer to a name; the name's own is NAMES + name."""
    return NAMES + names + name * WORDS + k


def _write_tokenizer(folder: str, words: list[str]) -> None:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit

    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, unk_token=words[UNKNOWN]))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    tokenizer.save(str(Path(folder, "tokenizer.json")))
    special = {"unk_token": words[UNKNOWN], "bos_token": words[BEGIN], "eos_token": words[STOP]}
    how = {"tokenizer_class": "PreTrainedTokenizerFast", **special}
    Path(folder, "tokenizer_config.json").write_text(json.dumps(how))
