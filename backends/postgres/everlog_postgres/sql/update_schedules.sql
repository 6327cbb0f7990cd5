-- Put schedules in the place of those of their names, which are locked.
UPDATE everlog.schedules
SET
    revision = new.revision,
    workflow = new.workflow,
    due_at = new.due_at,
    payload = new.payload
FROM unnest(%(names)s, %(revisions)s, %(workflows)s, %(due_ats)s, %(payloads)s)
    AS new (name, revision, workflow, due_at, payload)
WHERE schedules.name = new.name
