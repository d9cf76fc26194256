"""What the commands print of classes and tenants, where there are several."""

from collections.abc import Mapping, Sequence
from typing import Any

import click

from llmqueue_gym.cli.output import print_table

SHOWN = 20  # rows of a table; the rest is in the JSON
_COLUMNS = ("number", "TTFT", "p99", "e2e", "p99", "in time", "longest wait")


def show_groups(found: Mapping[str, Any]) -> None:
    """Print how each class and each tenant of a run fares, and how unlike tenants are served."""
    for what in ("class", "tenant"):
        rows = found.get(f"by_{what}", ())
        if rows:
            print_table(f"by {what}", (what, *_COLUMNS), [_row([row[what]], row) for row in rows[:SHOWN]])
        if len(rows) > SHOWN:
            click.echo(f"and {len(rows) - SHOWN} more, with --json")
    if "by_tenant" in found:
        _show_fairness([("", found)])


def show_groups_of_policies(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print the same of several policies, each a row with its `metrics`; groups of which there are few."""
    for what in ("class", "tenant"):
        parts = [
            _row([part[what], row["policy"]], part)
            for k in range(len(rows[0]["metrics"].get(f"by_{what}", ())))
            for row in rows
            for part in [row["metrics"][f"by_{what}"][k]]
        ]
        if 0 < len(parts) <= SHOWN:
            print_table(f"by {what}", (what, "policy", *_COLUMNS), parts)
    if "by_tenant" in rows[0]["metrics"]:
        _show_fairness([(row["policy"], row["metrics"]) for row in rows])


def _show_fairness(listed: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
    columns = ("policy" if listed[0][0] else "", "Jain's index", "service difference, tokens")
    rows = [(name, f"{m['tenant_jain']:.3g}", _number(m["service_difference"], "{:,.0f}")) for name, m in listed]
    print_table("between tenants", columns, rows)


def _row(names: list[Any], row: Mapping[str, Any]) -> list[Any]:
    from llmqueue_gym.evaluation.metrics import seconds

    times = [row["ttft_mean"], row["ttft_p99"], row["e2e_mean"], row["e2e_p99"]]
    told = [f"{row['requests']:,}", *("" if time != time else seconds(time) for time in times)]
    return [*map(str, names), *told, _number(row["in_time"], "{:.1%}"), seconds(row["longest_wait"])]


def _number(value: float, how: str) -> str:
    return "" if value != value else how.format(value)
