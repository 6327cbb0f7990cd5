"""Steps whose SQL commits with their result: exactly once, wherever the process, the connection or the commit dies."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

import everlog
from everlog import Engine, InvalidDefinition, RetryPolicy, UsageError, WorkflowFailed, WrongContext, step, sync, workflow
from everlog.runtime.transactions import TABLE
from tests.postgres import needs_postgres, new_schema, server_url

