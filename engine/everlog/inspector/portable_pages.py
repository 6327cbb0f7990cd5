"""Portable pages: the history of a workflow as a file, and as a test that runs; and a workflow from a file.

What leaves here is the log as it is recorded. So nothing does where payloads are hidden or redacted.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from everlog.cli.moving import file_name, imported
from everlog.core.log_lines import write_lines
from everlog.errors import CorruptLog, NotFound, UsageError
from everlog.inspector.security import Refused
from everlog.inspector.site import Site
from everlog.inspector.workflow_pages import id_of
from everlog.replay.registry import registered_workflows
from everlog.runtime import looking
from everlog.runtime.client import Client
from everlog.runtime.copying import End, Movable, movable
from everlog.runtime.portable import export_lines, import_lines
from everlog.store import ENDED, EventRow
from everlog.store_moving import WorkflowRows

MOST_TESTED: Final = 2000
"""Events that are written into the text of a test; a longer history is a file beside it."""


async def export_page(site: Site, request: Request) -> Response:
    """Give a workflow as `everlog export` writes it, to be kept as a file."""
    _check_open(site)
    workflow_id = id_of(request)
    rows = await site.client.on_thread(lambda: _movable(site.client).rows_of([workflow_id]))
    if not rows:
        raise NotFound(f"there is no workflow {workflow_id!r} in this store")
    text = await site.client.aside(lambda: "".join(export_lines(rows[0])))
    return _file(text, file_name(workflow_id), "application/x-ndjson")


async def test_page(site: Site, request: Request) -> Response:
    """Show the text of a test that replays the history, or give it as a file."""
    _check_open(site)
    workflow_id = id_of(request)
    head = await looking.head_of(site.client, workflow_id)
    if head.seq > MOST_TESTED:
        raise UsageError(
            f"workflow {workflow_id!r} has {head.seq:,} events, too many for the text of a test: download its history "
            'into a folder, and have @pytest.mark.everlog_histories("folder") make a test of each file there'
        )
    rows = await looking.events_page(site.client, workflow_id, after=0, limit=MOST_TESTED)
    text = test_text(workflow_id, head.name, rows)
    if request.query_params.get("download"):
        return _file(text, f"test_{_plain(workflow_id)}.py", "text/x-python")
    return site.page(request, "test.html", workflow_id=workflow_id, name=head.name, text=text)


def test_text(workflow_id: str, name: str, rows: Sequence[EventRow]) -> str:
    """Give a module for pytest that holds a history, and fails where the code does not fit it any more."""
    definition = registered_workflows().get(name)
    module = getattr(getattr(definition, "fn", None), "__module__", None)
    known = module if module not in (None, "__main__") else None
    code = f"import {known}" if known else f"# Import the module here that defines the workflow {name!a}."
    lines = write_lines(workflow_id, name, ((row.seq, row.recorded_at, row.payload) for row in rows))
    history = "\n".join(f"    {line.rstrip(chr(10))!a}," for line in lines)
    used = f"\n# Importing it defines {name!a}.\nassert {known}\n" if known else ""
    return f"""from pathlib import Path

{code}

from everlog.testing import replay
{used}
# The history of {workflow_id!a}, as it was recorded: a line for each event.
HISTORY = [
{history}
]


def test_{_plain(workflow_id)}_replays(tmp_path: Path) -> None:
    file = tmp_path / "history.jsonl"
    file.write_text("\\n".join(HISTORY), encoding="utf-8")
    assert replay(file).is_clean
"""


async def import_page(site: Site, request: Request) -> Response:
    """Show the form that takes an exported workflow."""
    return site.page(request, "import.html", most=site.settings.max_body)


async def bring_in(client: Client, text: str, *, run: bool) -> str:
    """Write an exported workflow, and give its id. What is there already is left as it is. Raises `UsageError`."""
    # A browser ends each line of a form by CR LF; within a line of JSON there is neither.
    try:
        rows = await client.aside(lambda: import_lines(text.replace("\r\n", "\n").split("\n")))
    except CorruptLog as error:  # what was pasted is at fault, not this database
        raise UsageError(f"this is no exported workflow: {error}") from error
    if rows.head.state not in ENDED and not run:
        raise UsageError(
            f"workflow {rows.head.workflow_id!r} has not ended ({rows.head.state}) and goes on here as soon as an "
            "engine has its code: its steps run here, whether it runs elsewhere or not. Stop it there, then say that "
            "it may go on; nothing was imported"
        )
    await client.on_thread(lambda: _write(client, rows))
    return rows.head.workflow_id


def _write(client: Client, rows: WorkflowRows) -> None:
    imported(_movable(client), "this form", rows)


def _movable(client: Client) -> Movable:
    return movable(End(client.store, type(client.store).__name__))


def _check_open(site: Site) -> None:
    if site.payloads.hides or site.settings.redact is not None:
        raise Refused(403, "Payloads are kept from people here, and a history holds them all: use `everlog export`.")


def _plain(workflow_id: str) -> str:
    """Give an id as a part of a name in Python and of a file."""
    return re.sub(r"\W+", "_", workflow_id, flags=re.ASCII).strip("_").lower()[:80] or "workflow"


def _file(text: str, name: str, kind: str) -> Response:
    # A name of ours has no quotation marks, so that nothing follows on it.
    name = re.sub(r"[^A-Za-z0-9._%-]", "_", name)
    return Response(
        text, media_type=f"{kind}; charset=utf-8", headers={"Content-Disposition": f'attachment; filename="{name}"'}
    )
