"""`python -m llmqueue_gym.cli` is `llmqueue`."""

from llmqueue_gym.cli import main

main()
