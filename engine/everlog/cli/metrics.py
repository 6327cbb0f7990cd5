"""`everlog metrics`: the numbers of a database, as Prometheus reads them. Those of engines are told by themselves."""

from __future__ import annotations

import argparse

from everlog.cli.arguments import Commands
from everlog.cli.places import opened, store_url

_HELP = (
    "Print how many workflows are in which state, how long queues are and how old, and the leases of workers, as text "
    "for Prometheus. What an engine has done it tells by itself: see everlog.observing. Example: everlog metrics "
    "shop.db"
)


def add_metrics(commands: Commands, place: str) -> None:
    """Add the command; `place` says how a database is named."""
    metrics = commands.add_parser("metrics", help="print numbers for Prometheus", description=_HELP)
    metrics.add_argument("url", nargs="?", help=f"the database: {place}")
    metrics.add_argument("--db", help="the same, as in the other commands")


def run_metrics(chosen: argparse.Namespace) -> int:
    """Print the numbers."""
    from everlog.observing.prometheus import prometheus_text
    from everlog.runtime.measuring import metrics_in

    with opened(store_url(chosen.db or chosen.url)) as store:
        print(prometheus_text(metrics_in(store)), end="")
    return 0
