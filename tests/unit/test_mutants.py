"""The table of mutants fits the backend that it is about. That they are caught is shown by `make mutants`."""

import pytest

from tests.mutants.making import Mutant, mutated
from tests.mutants.of_finding import FINDING
from tests.mutants.of_reading import READING
from tests.mutants.of_writing import WRITING

MUTANTS = [*WRITING, *READING, *FINDING]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_is_a_program_that_differs(mutant: Mutant) -> None:
    text = mutated(mutant)
    assert mutant.old != mutant.new
    if mutant.file.endswith(".py"):
        compile(text, mutant.file, "exec")


def test_there_are_enough_and_each_has_a_name_of_its_own() -> None:
    names = {mutant.name for mutant in MUTANTS}
    assert len(names) == len(MUTANTS) >= 40
