"""The pytest plugin: a fixture with an engine on virtual time, and exported histories as tests. It changes no other.

It is loaded by pytest wherever Everlog is installed (`-p no:everlog` leaves it out), so it imports Everlog only where a
test asks for something of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from everlog.core.log_lines import Exported
    from everlog.testing.virtual import VirtualEngine

MARKER: Final = "everlog_histories"
HISTORY: Final = "everlog_history"
SUFFIX: Final = ".jsonl"


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line(
        "markers",
        f"{MARKER}(directory, codec=None): run the test once for each exported history in the directory, which is "
        "relative to the test's file; it fails where the code does not fit the history",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make a test of each exported history that the marker names."""
    marker = metafunc.definition.get_closest_marker(MARKER)
    if marker is None:
        return
    if len(marker.args) != 1:
        pytest.fail(f"{MARKER} takes one directory, got {marker.args!r}", pytrace=False)
    directory = metafunc.definition.path.parent / marker.args[0]
    files = sorted(directory.rglob(f"*{SUFFIX}"))
    if not files:
        pytest.fail(
            f"{metafunc.definition.nodeid}: there is no exported history (*{SUFFIX}) in {directory}, so nothing would "
            "be tested; write some there by `everlog export` or everlog.testing.save_history",
            pytrace=False,
        )
    if HISTORY not in metafunc.fixturenames:
        metafunc.fixturenames.append(HISTORY)
    names = [file.relative_to(directory).with_suffix("").as_posix() for file in files]
    metafunc.parametrize(HISTORY, files, indirect=True, ids=names)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> None:
    """Replay the history of a test before its body runs."""
    marker = item.get_closest_marker(MARKER)
    if marker is None or not isinstance(item, pytest.Function):
        return
    from everlog.testing.replays import HistoryDiverges, load_history, replay

    # A test that does not ask for the history has it as a parameter all the same.
    path: Any = item.callspec.params[HISTORY]
    history = load_history(path)
    try:
        replay(history, codec=marker.kwargs.get("codec"))
    except HistoryDiverges as error:
        pytest.fail(str(error), pytrace=False)


@pytest.fixture
def everlog_history(request: pytest.FixtureRequest) -> Exported:
    """The exported history of a test that is marked with `everlog_histories`: for what else is to hold of it."""
    from everlog.testing.replays import load_history

    path: Path | None = getattr(request, "param", None)
    if path is None:
        pytest.fail(f"{HISTORY} is for tests that are marked: @pytest.mark.{MARKER}('directory')", pytrace=False)
    return load_history(path)


@pytest.fixture
def everlog_options() -> dict[str, Any]:
    """The options of `everlog_engine`, as `everlog.testing.VirtualEngine` takes them; a test may have its own."""
    return {}


@pytest.fixture
def everlog_engine(everlog_options: dict[str, Any]) -> Iterator[VirtualEngine]:
    """An engine in memory, on virtual time: what waits takes no time. At the end all its workflows are replayed."""
    from everlog.testing.virtual import VirtualEngine

    with VirtualEngine(**everlog_options) as engine:
        yield engine
