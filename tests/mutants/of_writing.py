"""Mutants of what writes: fences, heads, messages, keys. Each breaks one sentence of `everlog/store.py`."""

from __future__ import annotations

from tests.mutants.making import Mutant

PLAN = "planning.py"
STORE = "store.py"
WRITES = "writing.py"
ADVANCE = "sql/advance_heads.sql"
MOVE = "sql/move_heads.sql"
DELIVERED = "sql/find_delivered.sql"
CONSUMED = "sql/delete_consumed.sql"
FENCE = "if head is None or head.token != commit.token or head.seq != commit.seq:"

FENCES = [
    Mutant(
        "token-not-compared",
        "a commit takes effect only while the head bears its token",
        PLAN,
        FENCE,
        "if head is None or head.seq != commit.seq:",
    ),
    Mutant(
        "seq-not-compared",
        "a commit takes effect only while the head bears its seq",
        PLAN,
        FENCE,
        "if head is None or head.token != commit.token:",
    ),
    Mutant(
        "token-not-fenced-where-it-runs-on",
        "a remembered head is checked again under the lock",
        ADVANCE,
        "    AND heads.token = moved.column2\n",
        "",
    ),
    Mutant(
        "seq-not-fenced-where-it-runs-on",
        "a remembered head is checked again under the lock",
        ADVANCE,
        "    AND heads.seq = moved.column3\n",
        "",
    ),
    Mutant(
        "no-token-fits-none",
        "without a token the head must bear none",
        MOVE,
        "    AND heads.token IS moved.column2\n",
        "    AND heads.token = moved.column2\n",
    ),
    Mutant(
        "the-unread-stays-closed",
        "what lies unread counts again when an ended workflow is opened",
        "planning.py",
        "            self.reopened.append(head.number)\n",
        "            pass\n",
    ),
    Mutant(
        "what-goes-on-is-deleted",
        "what has not ended is not deleted",
        "sql/find_removable.sql",
        "WHERE heads.ended_at IS NOT NULL\n",
        "WHERE heads.number IS NOT NULL\n",
    ),
    Mutant(
        "token-not-fenced-where-it-parks",
        "every commit names its token, also one without events",
        MOVE,
        "    AND heads.token IS moved.column2\n",
        "",
    ),
    Mutant(
        "seq-not-fenced-where-it-parks",
        "every commit names its seq, also one without events",
        MOVE,
        "    AND heads.seq = moved.column3",
        "",
    ),
    Mutant(
        "moved-rows-not-counted",
        "a commit that moved no head writes nothing else",
        WRITES,
        "sql.MOVE_HEADS.run(connection, plan.moved) != len(plan.moved)",
        "sql.MOVE_HEADS.run(connection, plan.moved) < 0",
    ),
    Mutant(
        "advanced-rows-not-counted",
        "a commit that moved no head writes nothing else",
        WRITES,
        "sql.ADVANCE_HEADS.run(self._connection, advanced) != len(advanced)",
        "sql.ADVANCE_HEADS.run(self._connection, advanced) < 0",
    ),
    Mutant(
        "refused-from-memory",
        "what decides is the head in the database, also where another one is remembered",
        PLAN,
        "if head is None or head.token != commit.token or head.seq != commit.seq or commit.messages:",
        "if head is None or commit.messages:",
    ),
    Mutant(
        "state-of-a-peer-overlooked",
        "the head takes the state as given, whoever moved it before",
        ADVANCE,
        "    AND heads.state = 'running'\n",
        "",
    ),
    Mutant(
        "topics-of-a-peer-overlooked",
        "the head takes topics as given, whoever moved it before",
        ADVANCE,
        "    AND heads.topics = '[]'\n",
        "",
    ),
    Mutant(
        "half-a-batch-kept",
        "a refused part leaves no trace, and does not hold the others",
        "connection.py",
        'self._connection.driver.execute("ROLLBACK")',
        'self._connection.driver.execute("COMMIT")',
    ),
    Mutant("gaps-written", "a history has no gaps", STORE, "        check_batch(batch)\n", ""),
]

HEADS = [
    Mutant(
        "release-forgotten",
        "`release` clears the token and the worker",
        PLAN,
        "free = commit.release or ended",
        "free = ended",
    ),
    Mutant(
        "ended-heads-with-tokens",
        "an ended state clears the token as well",
        PLAN,
        "free = commit.release or ended",
        "free = commit.release",
    ),
    Mutant(
        "ended-at-of-the-first-event",
        "ended_at is recorded_at of the end",
        PLAN,
        "(commit.events[-1].recorded_at if commit.events",
        "(commit.events[0].recorded_at if commit.events",
    ),
    Mutant(
        "ended-at-of-a-creation",
        "ended_at is recorded_at of the end, also of what is created ended",
        PLAN,
        "ended_at=new.events[-1].recorded_at if ended",
        "ended_at=new.events[0].recorded_at if ended",
    ),
    Mutant(
        "created-at-by-the-clock",
        "created_at is recorded_at of seq 1",
        PLAN,
        "created_at=new.events[0].recorded_at",
        "created_at=self._now",
    ),
    Mutant(
        "wake-at-kept",
        "the head takes `wake_at` as given, also None",
        PLAN,
        "head.wake_at = commit.wake_at",
        "head.wake_at = commit.wake_at or head.wake_at",
    ),
    Mutant(
        "topics-kept",
        "the head takes `topics` as given, also none",
        PLAN,
        "head.topics = tuple(commit.topics)",
        "head.topics = tuple(commit.topics) or head.topics",
    ),
    Mutant(
        "why-kept",
        "the head takes `why` as given, also None",
        PLAN,
        "head.why = commit.why",
        "head.why = commit.why or head.why",
    ),
    Mutant(
        "build-forgotten", "the head takes `build` as given", PLAN, "head.build = commit.build", "head.build = None"
    ),
    Mutant(
        "topics-of-a-running-one-lost",
        "the head takes `topics` as given, in every state",
        PLAN,
        "commit.wake_at is not None or commit.topics or commit.build is not None",
        "commit.wake_at is not None or commit.build is not None",
    ),
    Mutant(
        "takeovers-forgotten-without-progress",
        "a commit sets `takeovers` to 0 if `progress` is true",
        PLAN,
        "1 if commit.events and commit.progress else 0",
        "1 if commit.events else 0",
    ),
    Mutant(
        "takeovers-forgotten-without-events",
        "a commit with events sets `takeovers` to 0, no other does",
        PLAN,
        "1 if commit.events and commit.progress else 0",
        "1 if commit.progress else 0",
    ),
    Mutant(
        "takeovers-never-forgotten",
        "a commit with events sets `takeovers` to 0 if `progress` is true",
        ADVANCE,
        "CASE WHEN moved.column6 THEN 0 ELSE takeovers END",
        "takeovers",
    ),
    Mutant(
        "takeovers-not-forgotten-by-parking",
        "a commit with events sets `takeovers` to 0, also one that parks",
        MOVE,
        "CASE WHEN moved.column6 THEN 0 ELSE takeovers END",
        "takeovers",
    ),
    Mutant(
        "spaces-trimmed",
        "payloads are kept byte for byte",
        PLAN,
        "(number, event.seq, event.type, event.recorded_at, event.payload.decode())",
        "(number, event.seq, event.type, event.recorded_at, event.payload.decode().strip())",
    ),
    Mutant(
        "spaces-trimmed-while-running",
        "payloads are kept byte for byte",
        PLAN,
        "(number, seq, event.type, event.recorded_at, event.payload.decode())",
        "(number, seq, event.type, event.recorded_at, event.payload.decode().strip())",
    ),
    Mutant(
        "running-one-with-inbox",
        "the rows of the inbox that a commit has consumed are deleted",
        PLAN,
        "commit.messages or commit.consumed or commit.creates",
        "commit.messages or commit.creates",
    ),
    Mutant(
        "running-one-sends-nothing",
        "messages of a commit are delivered with it",
        PLAN,
        "commit.messages or commit.consumed or commit.creates",
        "commit.consumed or commit.creates",
    ),
    Mutant(
        "running-one-creates-nothing",
        "workflows of a commit are created with it",
        PLAN,
        "commit.messages or commit.consumed or commit.creates",
        "commit.messages or commit.consumed",
    ),
    Mutant(
        "running-one-with-any-token",
        "a commit takes effect only under the token that the head bears",
        PLAN,
        'if head is None or head.token != commit.token or head.seq != before or head.state != "running":',
        'if head is None or head.seq != before or head.state != "running":',
    ),
    Mutant(
        "ids-without-case",
        "ids are compared exactly",
        "sql/migrations/0001_initial.sql",
        "workflow_id TEXT NOT NULL UNIQUE COLLATE BINARY",
        "workflow_id TEXT NOT NULL UNIQUE COLLATE NOCASE",
    ),
]

MESSAGES = [
    Mutant(
        "refused-commit-delivers",
        "of a refused commit nothing is written, nor delivered",
        PLAN,
        "            return _REFUSED\n",
        "            for message in commit.messages:\n"
        "                if self._why_undeliverable(message) is None:\n"
        "                    self._deliver(message)\n"
        "            return _REFUSED\n",
    ),
    Mutant(
        "undeliverable-commit-delivers-the-rest",
        "of an undeliverable commit nothing is written",
        PLAN,
        "                return Undeliverable(index=index, reason=reason)\n",
        "                return Undeliverable(index=index, reason=reason)\n            self._deliver(message)\n",
    ),
    Mutant(
        "undeliverable-without-index",
        "`Undeliverable` names the message",
        PLAN,
        "Undeliverable(index=index, reason=reason)",
        "Undeliverable(index=0, reason=reason)",
    ),
    Mutant(
        "the-ended-take-messages",
        "an ended workflow takes no message",
        PLAN,
        'return "ended" if state in ENDED else None',
        "return None",
    ),
    Mutant(
        "duplicates-of-the-ended-undeliverable",
        "a repetition is a duplicate, also when the workflow has ended",
        PLAN,
        "        if self._mail.has(message):\n            return Duplicate()\n"
        "        reason = self._why_undeliverable(message)\n        if reason is not None:\n"
        "            return Undeliverable(index=0, reason=reason)\n",
        "        reason = self._why_undeliverable(message)\n        if reason is not None:\n"
        "            return Undeliverable(index=0, reason=reason)\n"
        "        if self._mail.has(message):\n            return Duplicate()\n",
    ),
    Mutant(
        "key-not-written",
        "a message with a key is delivered at most once",
        PLAN,
        "self.keys.append((number, message.key))",
        "pass",
    ),
    Mutant(
        "key-forgotten-when-read",
        "a key counts also after the first message was read",
        WRITES,
        '{"consumed": array(plan.consumed)})\n',
        '{"consumed": array(plan.consumed)})\n'
        '            connection.execute("DELETE FROM message_keys WHERE workflow NOT IN'
        ' (SELECT workflow FROM inbox)")\n',
    ),
    Mutant(
        "key-of-any-destination",
        "a key counts per destination",
        DELIVERED,
        "ON message_keys.workflow = json_extract(sent.value, '$[0]')\n    AND",
        "ON",
    ),
    Mutant(
        "sources-mixed-up",
        "messages of two sources are two",
        DELIVERED,
        "    AND inbox.source = json_extract(sent.value, '$[1]')\n",
        "",
    ),
    Mutant(
        "numbers-mixed-up",
        "messages of two numbers are two",
        DELIVERED,
        "    AND inbox.number = json_extract(sent.value, '$[2]')\n",
        "",
    ),
    Mutant(
        "key-not-seen-in-the-batch",
        "a repetition within one batch is one message",
        PLAN,
        "            self.keys.add((message.destination, message.key))\n",
        "            pass\n",
    ),
    Mutant(
        "read-rows-still-known",
        "(source, number) is unique among what is unread, also within one batch",
        PLAN,
        "                del self.unread[sent]\n",
        "                pass\n",
    ),
    Mutant(
        "nothing-consumed",
        "consumed rows are deleted with the commit",
        PLAN,
        "self.consumed.extend((row, head.number) for row in commit.consumed)",
        "pass",
    ),
    Mutant(
        "row-of-another-inbox-deleted",
        "a commit consumes from its own inbox only",
        CONSUMED,
        "\n        AND unread.workflow = json_extract(consumed.value, '$[1]')",
        "",
    ),
    Mutant(
        "all-rows-before-deleted",
        "only the rows that were named are deleted",
        CONSUMED,
        "ON unread.row = json_extract(consumed.value, '$[0]')",
        "ON unread.row <= json_extract(consumed.value, '$[0]')",
    ),
    Mutant(
        "rows-used-twice",
        "a row that comes later is greater than all before",
        "sql/migrations/0001_initial.sql",
        "row INTEGER PRIMARY KEY AUTOINCREMENT",
        "row INTEGER PRIMARY KEY",
    ),
    Mutant(
        "arrival-forgotten",
        "`arrived_at` is `now()`",
        PLAN,
        "message.control, payload, self.now)",
        "message.control, payload, 0)",
    ),
    Mutant(
        "control-forgotten",
        "a control message says so",
        PLAN,
        "message.topic, message.control, payload",
        "message.topic, False, payload",
    ),
    Mutant(
        "an-end-closes-all-inboxes",
        "what lies unread elsewhere still wakes",
        "sql/close_inboxes.sql",
        "WHERE workflow IN (SELECT value FROM json_each(:workflows))",
        "WHERE :workflows != ''",
    ),
    Mutant(
        "destinations-of-a-remembered-head",
        "messages of a commit go to other inboxes",
        PLAN,
        "head.seq != commit.seq or commit.messages:",
        "head.seq != commit.seq:",
    ),
]

CREATIONS = [
    Mutant(
        "taken-ids-are-passed-over",
        "a commit whose creation has an id that is taken writes nothing",
        PLAN,
        "                return ChildExists(index=index, head=found.head())\n",
        "                continue\n",
    ),
    Mutant(
        "taken-without-index",
        "`ChildExists` names the creation",
        PLAN,
        "ChildExists(index=index, head=found.head())",
        "ChildExists(index=0, head=found.head())",
    ),
    Mutant(
        "the-undeliverable-create",
        "of an undeliverable commit nothing is written",
        PLAN,
        "        created: dict[str, State] = {new",
        "        for new in commit.creates:\n            self._create(new)\n        created: dict[str, State] = {new",
    ),
    Mutant(
        "creations-are-not-addressed",
        "a commit may send to what it creates",
        PLAN,
        "self._why_undeliverable(message, created)",
        "self._why_undeliverable(message)",
    ),
    Mutant(
        "optional-messages-are-not",
        "an optional message is dropped where nobody could take it",
        PLAN,
        "if reason is not None and not message.optional:",
        "if reason is not None:",
    ),
    Mutant(
        "one-optional-message-excuses-all",
        "an optional message does not excuse another",
        PLAN,
        "if reason is not None and not message.optional:",
        "if reason is not None and not commit.messages[0].optional:",
    ),
    Mutant(
        "numbers-given-twice",
        "what a commit creates has a number of its own",
        WRITES,
        "connection.value(sql.LAST_NUMBER) if creates else 0",
        "connection.value(sql.LAST_NUMBER) if batch.creates else 0",
    ),
    Mutant(
        "taken-ids-not-looked-for",
        "of what a commit creates it is known whether it is there",
        WRITES,
        "ids = {new.workflow_id for new in creates}",
        "ids = {new.workflow_id for new in batch.creates}",
    ),
    Mutant(
        "creations-on-remembered-heads",
        "heads that are remembered say nothing of what is created",
        PLAN,
        "        if commit.creates or commit.place is not None:\n",
        "        if commit.place is not None:\n",
    ),
]
WRITING = [*FENCES, *HEADS, *MESSAGES, *CREATIONS]
