"""`llmqueue export`: a policy as a module that a serving engine loads, in a folder with a README and a card."""

import shlex

import click

from llmqueue_gym.cli.options import as_json
from llmqueue_gym.cli.output import print_json


@click.command()
@click.argument("policy", metavar="POLICY")
@click.option("--to", required=True, metavar="ENGINE", help="vllm, sglang or priority-proxy.")
@click.option("--out", required=True, metavar="DIR", help="Folder to write: none yet, empty, or of an earlier export.")
@click.option("--profile", default="a100-llama3-8b", show_default=True, help="For policies that rank by seconds.")
@click.option("--rules", default="vllm-v1", show_default=True, help="Likewise.")
@as_json
def export(policy: str, to: str, out: str, profile: str, rules: str, as_json: bool) -> None:
    """Write a serving policy as a module that an engine loads.

    POLICY is one of `llmqueue policies`, FILE.py:NAME, or the folder of a trained one. The module is plain Python and
    needs nothing of this package; what the engine cannot do is refused.
    """
    from llmqueue_gym.cli.asked import function_in_file
    from llmqueue_gym.export import export as write
    from llmqueue_gym.export.folder import read_card

    words = ["llmqueue", "export", policy, "--to", to, "--out", out]
    for option, value, usual in (("--profile", profile, "a100-llama3-8b"), ("--rules", rules, "vllm-v1")):
        words += [option, value] if value != usual else []
    folder = write(function_in_file(policy) or policy, to, out, profile, rules, shlex.join(words))
    card = read_card(folder)
    if as_json:
        print_json({**card, "folder": str(folder)})
        return
    click.echo(f"written: {', '.join(card['files'])} in {out}")
    click.echo(f"{card['policy']} in {card['target']} {' and '.join(card['versions'])}: {card['run']}")
    if card["stated"]:
        click.echo(f"each request states its {', '.join(card['stated'])}: see the README there")
