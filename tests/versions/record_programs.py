"""Records the programs of some seeds under the Python that runs it: prints one history as JSON on each line."""

from __future__ import annotations

import json
import logging
import sys

from tests.property.recording import record_seeds


def main() -> None:
    """Take the first seed, their number, and the most nodes of a program."""
    first, number, nodes = map(int, sys.argv[1:4])
    logging.disable(logging.CRITICAL)
    for recorded in record_seeds(range(first, first + number), nodes=nodes):
        print(json.dumps(recorded))


if __name__ == "__main__":
    main()
