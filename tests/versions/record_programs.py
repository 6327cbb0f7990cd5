"""Records the programs of some seeds, in both colours, under the Python that runs it: one history as JSON a line."""

from __future__ import annotations

import json
import logging
import sys

from tests.property.recording import record_seeds


def main() -> None:
    """Take the first seed, their number, and the most nodes of a program."""
    first, number, nodes = map(int, sys.argv[1:4])
    logging.disable(logging.CRITICAL)
    for blocking in (False, True):
        for recorded in record_seeds(range(first, first + number), nodes=nodes, blocking=blocking):
            print(json.dumps(recorded))


if __name__ == "__main__":
    main()
