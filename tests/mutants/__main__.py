"""Runs the conformance kit on hand-made mutants of the SQLite store, and fails if fewer than 95 % are caught.

    make mutants
    python -m tests.mutants release-forgotten last-due     # these only

Not a part of `make test`: it takes minutes. The mutants are in the modules `of_...` beside this file.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.mutants.making import Mutant, copy_backend
from tests.mutants.of_finding import FINDING
from tests.mutants.of_reading import READING
from tests.mutants.of_writing import WRITING

ROOT = Path(__file__).parents[2]
ENOUGH = 0.95
SECONDS = 60
"""How long the kit may take for one mutant. One that takes longer is not caught: it may just as well be the machine."""


def failing_test(mutant: Mutant | None) -> str | None:
    """Run the kit on a copy of the backend until something fails; give its name, None where nothing does in time."""
    with tempfile.TemporaryDirectory() as folder:
        copy_backend(Path(folder), mutant)
        paths = [folder, str(ROOT / "engine"), os.environ.get("PYTHONPATH", "")]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "EVERLOG_MUTANT": folder}
        command = [sys.executable, "-B", "-m", "pytest", "-x", "--tb=no", "-rfE", "-p", "no:cacheprovider"]
        command += [f"--basetemp={folder}/data", "tests/mutants/kit.py"]
        try:
            run = subprocess.run(
                command,
                cwd=ROOT,
                env=environment,
                capture_output=True,
                text=True,
                timeout=SECONDS if mutant is not None else 5 * SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return None
    if run.returncode == 0:
        return None
    found = re.search(r"^(?:FAILED|ERROR) \S*?::(.+?)(?: - .*)?$", run.stdout, re.MULTILINE)
    if run.returncode != 1 or found is None:
        raise SystemExit(f"the kit did not run:\n{run.stdout}\n{run.stderr}")
    if "test_it_is_the_copy" in found[1]:
        raise SystemExit("another backend than the copy was tested")
    return found[1]


def main(names: list[str]) -> int:
    """Print a line for each mutant; 1 if too few were caught."""
    mutants = [mutant for mutant in [*WRITING, *READING, *FINDING] if not names or mutant.name in names]
    if not mutants:
        print(f"no mutant is named {', '.join(names)}", file=sys.stderr)
        return 2
    broken = failing_test(None)
    if broken is not None:
        print(f"the store fails {broken} as it is: mend it first", file=sys.stderr)
        return 2
    survivors: list[Mutant] = []
    for mutant in mutants:
        begin = time.monotonic()
        caught = failing_test(mutant)
        if caught is None:
            survivors.append(mutant)
        print(f"{mutant.name:42} {caught or 'SURVIVED'}  ({time.monotonic() - begin:.1f} s)", flush=True)
    share = 1 - len(survivors) / len(mutants)
    print(f"\n{len(mutants) - len(survivors)} of {len(mutants)} caught: {share:.0%}")
    for mutant in survivors:
        print(f"survived: {mutant.name}: {mutant.rule}")
    return int(share < ENOUGH)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
