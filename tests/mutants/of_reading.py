"""Mutants of what claims and reads: runnable, order, pages, workers. Each breaks one sentence of `everlog/store.py`.

Not among them is what changes nothing that can be seen: for example `heads.token IS NULL` in take_heads.sql, an
assertion behind the search for unheld heads, which is made under the same lock.
"""

from __future__ import annotations

from tests.mutants.making import Mutant

STORE = "store.py"
TAKING = "taking.py"
RUNNABLE = "sql/find_runnable.sql"
UNHELD = "sql/find_unheld.sql"
DUE = "sql/next_due.sql"
LIST = "sql/list_workflows.sql"
LISTINGS = "listings.py"
FREE = "sql/free_heads.sql"

CLAIMS = [
    Mutant(
        "due-a-moment-late",
        "a waiting workflow is runnable when `wake_at` has come",
        RUNNABLE,
        "AND wake_at <= :now",
        "AND wake_at < :now",
    ),
    Mutant(
        "sleepers-always-due",
        "a waiting workflow is not runnable before `wake_at`",
        RUNNABLE,
        "                AND wake_at <= :now\n",
        "",
    ),
    Mutant(
        "queued-not-runnable",
        "queued workflows are runnable",
        RUNNABLE,
        "state IN ('queued', 'running')",
        "state IN ('running')",
    ),
    Mutant(
        "control-wakes-nobody",
        "a control message on any topic makes runnable",
        RUNNABLE,
        "        AND orders.control\n",
        "        AND 0\n",
    ),
    Mutant(
        "any-topic-wakes",
        "a message makes runnable on one of `topics` only",
        RUNNABLE,
        " AND topic = awaited.value AND control = 0",
        " AND control = 0",
    ),
    Mutant(
        "a-part-of-a-topic-wakes",
        "topics are compared whole",
        RUNNABLE,
        "topic = awaited.value",
        "instr(awaited.value, topic) > 0",
    ),
    Mutant(
        "woken-whatever-its-name",
        "only workflows of these names are claimed",
        RUNNABLE,
        "        AND woken.name IN (SELECT name FROM names)\n",
        "",
    ),
    Mutant(
        "woken-while-held",
        "a head with a token is not runnable",
        RUNNABLE,
        "    WHERE woken.token IS NULL\n        AND woken.state",
        "    WHERE woken.state",
    ),
    Mutant(
        "messages-wake-the-paused",
        "only a control message makes runnable what is paused",
        RUNNABLE,
        "woken.state = 'waiting'",
        "woken.state IN ('waiting', 'paused')",
    ),
    Mutant(
        "orders-do-not-wake-the-paused",
        "a control message makes runnable what is paused",
        RUNNABLE,
        "ordered.state IN ('waiting', 'paused', 'enqueued')",
        "ordered.state IN ('waiting', 'enqueued')",
    ),
    Mutant(
        "messages-wake-the-stuck",
        "a message makes runnable what waits, nothing else",
        RUNNABLE,
        "        AND woken.state = 'waiting'\n",
        "",
    ),
    Mutant(
        "stuck-for-ever",
        "a stuck workflow is runnable for another build",
        RUNNABLE,
        "AND stuck.build IS NOT :build",
        "AND stuck.build = :build",
    ),
    Mutant(
        "stuck-without-build-for-ever",
        "a stuck workflow is runnable for another build, also one without",
        RUNNABLE,
        "stuck.build IS NOT :build",
        "stuck.build != :build",
    ),
    Mutant(
        "newest-first",
        "the longest runnable comes first",
        "records.py",
        "for _, number in sorted(found)]",
        "for _, number in sorted(found, reverse=True)]",
    ),
    Mutant(
        "newest-chosen",
        "of more than can be claimed the longest runnable are taken",
        RUNNABLE,
        "    ORDER BY since, number\n",
        "    ORDER BY since DESC, number\n",
    ),
    Mutant(
        "queued-chosen-by-number",
        "of the queued the oldest creations are taken",
        RUNNABLE,
        "ORDER BY created_at, number",
        "ORDER BY number",
    ),
    Mutant(
        "sleepers-chosen-by-number",
        "of the sleepers the first that were due are taken",
        RUNNABLE,
        "ORDER BY wake_at, number",
        "ORDER BY number",
    ),
    Mutant(
        "newest-reason-counts",
        "of several reasons the oldest counts",
        RUNNABLE,
        "SELECT min(since) AS since",
        "SELECT max(since) AS since",
    ),
    Mutant(
        "newest-message-counts",
        "of several messages the oldest counts",
        RUNNABLE,
        "ORDER BY arrived_at\n            LIMIT 1",
        "ORDER BY arrived_at DESC\n            LIMIT 1",
    ),
    Mutant(
        "only-claims-the-held", "with `only` a workflow is claimed if it is unheld", UNHELD, " AND token IS NULL", ""
    ),
    Mutant(
        "only-claims-the-ended",
        "with `only` a workflow is claimed if it is not ended",
        UNHELD,
        " AND ended_at IS NULL",
        "",
    ),
    Mutant("next-due-of-the-held", "`next_due` is of unheld workflows", DUE, " AND token IS NULL", ""),
    Mutant(
        "next-due-of-any-name",
        "`next_due` is of these names",
        DUE,
        "WHERE name = names.value\n        AND token IS NULL",
        "WHERE token IS NULL",
    ),
    Mutant("last-due", "`next_due` is when the next one is due", DUE, "SELECT min(wake_at)", "SELECT max(wake_at)"),
    Mutant("next-due-of-any-state", "`next_due` is of waiting workflows", DUE, " AND state = 'waiting'", ""),
    Mutant(
        "taken-without-looking-again",
        "a claim never gives one workflow to two claimants",
        STORE,
        "        with connection.transaction:\n            numbers = self._find_claimable(request)\n",
        "        numbers = self._find_claimable(request)\n        with connection.transaction:\n",
    ),
    Mutant(
        "first-history-cut",
        "the first history is always whole",
        TAKING,
        "if not numbers or head.bytes <= max_bytes:",
        "if head.bytes <= max_bytes:",
    ),
    Mutant(
        "histories-not-added-up",
        "`max_bytes` bounds all histories together",
        TAKING,
        "            max_bytes -= head.bytes\n",
        "",
    ),
    Mutant(
        "exact-fit-cut",
        "a history comes empty only if it does not fit",
        TAKING,
        "head.bytes <= max_bytes:",
        "head.bytes < max_bytes:",
    ),
    Mutant(
        "growth-not-measured",
        "`max_bytes` bounds the payload bytes of histories",
        "sql/advance_heads.sql",
        "    bytes = bytes + moved.column5,\n",
        "",
    ),
    Mutant(
        "growth-by-parking-not-measured",
        "`max_bytes` bounds the payload bytes of histories",
        "sql/move_heads.sql",
        "bytes + moved.column5 ELSE moved.column5 END",
        "bytes ELSE moved.column5 END",
    ),
    Mutant(
        "claimed-without-inbox",
        "a claim gives the unread inbox",
        TAKING,
        "inbox=unread.get(head.workflow_id, []),",
        "inbox=[],",
    ),
]

READERS = [
    Mutant(
        "read-from-after",
        "`read` gives events with seq greater than `after`",
        "sql/read_history.sql",
        "AND seq > :after",
        "AND seq >= :after",
    ),
    Mutant(
        "read-without-limit",
        "`read` gives at most `limit` events",
        TAKING,
        '"limit": -1 if limit is None else limit}',
        '"limit": -1}',
    ),
    Mutant(
        "unknown-heads-left-out",
        "`heads` gives None where there is none",
        STORE,
        "[by_id.get(workflow_id) for workflow_id in workflow_ids]",
        "[by_id[workflow_id] for workflow_id in workflow_ids if workflow_id in by_id]",
    ),
    Mutant(
        "heads-in-any-order",
        "`heads` gives the head of each id",
        STORE,
        "[by_id.get(workflow_id) for workflow_id in workflow_ids]",
        "[by_id.get(workflow_id) for workflow_id in sorted(set(workflow_ids))]",
    ),
    Mutant(
        "page-begins-with-the-last",
        "`after` is the last place of the page before, and not on this one",
        LIST,
        "(created_at, workflow_id) < (",
        "(created_at, workflow_id) <= (",
    ),
    Mutant(
        "page-skips-the-same-age",
        "pages leave none out, also of one age",
        LIST,
        "(created_at, workflow_id) < (:high_time, :high_id)",
        "created_at < :high_time",
    ),
    Mutant(
        "oldest-page-first",
        "a page has the newest creations",
        LIST,
        "ORDER BY created_at DESC, workflow_id DESC",
        "ORDER BY created_at, workflow_id",
    ),
    Mutant(
        "page-upside-down",
        "a page is newest first",
        LISTINGS,
        "found.sort(key=lambda head: (head.created_at, head.workflow_id), reverse=query.newest_first)",
        "found.sort(key=lambda head: (head.created_at, head.workflow_id))",
    ),
    Mutant(
        "states-ignored",
        "a listing is of the states that were asked for",
        LIST,
        "        AND (:states IS NULL OR state IN (SELECT value FROM json_each(:states)))\n",
        "",
    ),
    Mutant(
        "no-states-are-all-states",
        "a listing of no states is empty",
        LISTINGS,
        "None if query.states is None else array(query.states)",
        "array(query.states) if query.states else None",
    ),
    Mutant(
        "names-ignored",
        "a listing is of the names that were asked for",
        LIST,
        "            OR name IN (SELECT value FROM json_each(:names))\n",
        "            OR name IS NOT NULL\n",
    ),
    Mutant(
        "unread-from-after",
        "`unread` gives rows greater than `after`",
        "sql/unread.sql",
        "inbox.row > :after",
        "inbox.row >= :after",
    ),
    Mutant(
        "unread-of-all",
        "`unread` is of what this worker holds",
        "sql/unread.sql",
        " AND heads.worker = :worker",
        " AND heads.worker >= :worker",
    ),
    Mutant(
        "unread-by-sender",
        "`unread` is in order of row",
        "records.py",
        "arrived_at in sorted(found)",
        "arrived_at in sorted(found, key=lambda one: (one[2], one[3]))",
    ),
    Mutant(
        "changes-not-seen",
        "`changes` differs after another connection has written",
        "changes.py",
        'self._connection.value("PRAGMA data_version")',
        "0",
    ),
    Mutant(
        "changes-seen-late",
        "`changes` differs after another connection has written",
        "changes.py",
        "if log.st_mtime_ns != self._written_at or log.st_size != self._size:",
        "if self._size < 0:",
    ),
    Mutant(
        "changes-at-every-question",
        "asking changes nothing",
        "changes.py",
        'self._connection.value("PRAGMA data_version")',
        "time.time_ns()",
    ),
    Mutant(
        "closed-is-a-defect-of-ours",
        "after `close` calls raise `StoreUnavailable`",
        "connection.py",
        "                self.closed = True\n",
        "",
    ),
]

WORKERS = [
    Mutant(
        "retire-leaves-the-worker",
        "`retire` removes the worker",
        STORE,
        '            self._leases.execute(sql.DELETE_WORKER, {"worker": worker})\n',
        "",
    ),
    Mutant(
        "retire-leaves-what-waits",
        "`retire` removes the tokens of all that the worker held",
        FREE,
        "WHERE worker = :worker",
        "WHERE worker = :worker AND state = 'running'",
    ),
    Mutant(
        "retire-frees-all",
        "`retire` removes the tokens of that worker only",
        FREE,
        "WHERE worker = :worker",
        "WHERE :worker != '' AND worker IS NOT NULL",
    ),
    Mutant(
        "takeovers-not-counted",
        "`takeovers` of what was running grows by one",
        FREE,
        "takeovers + (state = 'running' AND why IS NOT :worker_died)",
        "takeovers",
    ),
    Mutant(
        "takeovers-of-those-who-began-nothing",
        "who died after another and committed nothing does not count",
        FREE,
        "state = 'running' AND why IS NOT :worker_died",
        "state = 'running'",
    ),
    Mutant(
        "dead-workers-not-told-of",
        "`why` of what was running becomes that its worker died",
        FREE,
        "THEN :worker_died ELSE why",
        "THEN why ELSE why",
    ),
    Mutant(
        "dead-workers-told-of-what-waits",
        "`why` becomes that of what was running only",
        FREE,
        "CASE WHEN state = 'running' THEN :worker_died ELSE why END",
        ":worker_died",
    ),
    Mutant(
        "takeovers-of-what-waits",
        "`takeovers` grows of what was running only",
        FREE,
        "takeovers + (state = 'running' AND why IS NOT :worker_died)",
        "takeovers + (why IS NOT :worker_died)",
    ),
    Mutant("takeovers-up-to-one", "takeovers add up", FREE, "takeovers + (state", "(state"),
    Mutant(
        "retire-changes-the-state",
        "what was held keeps the state it had",
        FREE,
        "    token = NULL,\n",
        "    token = NULL,\n    wake_at = NULL,\n",
    ),
    Mutant(
        "the-retired-renew",
        "`renew` is False if the worker was retired",
        STORE,
        "return renewed.rowcount == 1",
        "return renewed.rowcount >= 0",
    ),
    Mutant(
        "one-renews-for-all",
        "`renew` moves the lease of that worker only",
        "sql/renew_worker.sql",
        "WHERE worker = :worker",
        "WHERE :worker != ''",
    ),
    Mutant(
        "registered-once-only",
        "`register` adds a worker with its lease, also again",
        "sql/register_worker.sql",
        "DO UPDATE SET process = excluded.process, lease_until = excluded.lease_until",
        "DO NOTHING",
    ),
    Mutant(
        "holders-not-listed",
        "each holder that is not registered is listed",
        "sql/list_workers.sql",
        "WHERE heads.worker IS NOT NULL\n",
        "WHERE heads.worker IS NULL\n",
    ),
    Mutant(
        "holders-listed-twice",
        "a registered holder is listed once",
        "sql/list_workers.sql",
        "\n        AND heads.worker NOT IN (SELECT workers.worker FROM workers)",
        "",
    ),
    Mutant(
        "the-living-gone",
        "`gone` is true only where the process is known to have died",
        "liveness.py",
        "            return _is_free(file)\n",
        "            return True\n",
    ),
]

CONTINUING = [
    Mutant(
        "all-lives-read",
        "histories begin at the head's `first_seq`",
        "sql/read_histories.sql",
        " AND events.seq >= heads.first_seq",
        "",
    ),
    Mutant(
        "continuations-forgotten",
        "with `first_seq` the workflow continues as new there",
        "sql/move_heads.sql",
        "first_seq = coalesce(moved.column15, first_seq)",
        "first_seq = first_seq",
    ),
    Mutant(
        "continuations-taken-back",
        "the head keeps `first_seq` until the next commit that has one",
        "sql/move_heads.sql",
        "first_seq = coalesce(moved.column15, first_seq)",
        "first_seq = coalesce(moved.column15, 1)",
    ),
    Mutant(
        "former-name-kept",
        "`name` is its name from then on",
        "sql/move_heads.sql",
        "name = coalesce(moved.column16, name)",
        "name = name",
    ),
    Mutant(
        "bytes-of-all-lives",
        "`max_bytes` bounds the payload bytes of the histories that are given",
        "sql/move_heads.sql",
        "CASE WHEN moved.column15 IS NULL THEN bytes + moved.column5 ELSE moved.column5 END",
        "bytes + moved.column5",
    ),
    Mutant(
        "continuations-that-only-run-on",
        "a commit with `first_seq` moves the head",
        "planning.py",
        " and commit.first_seq is None and commit.name is None\n",
        "\n",
    ),
]

READING = [*CLAIMS, *READERS, *WORKERS, *CONTINUING]
