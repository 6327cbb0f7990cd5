-- Write schedules as they were elsewhere.
INSERT INTO everlog.schedules (name, revision, workflow, due_at, payload)
SELECT new.name, new.revision, new.workflow, new.due_at, new.payload
FROM unnest(%(names)s, %(revisions)s, %(workflows)s, %(due_ats)s, %(payloads)s)
    AS new (name, revision, workflow, due_at, payload)
ON CONFLICT (name) DO UPDATE
SET
    revision = excluded.revision,
    workflow = excluded.workflow,
    due_at = excluded.due_at,
    payload = excluded.payload
