-- Add schedules; gives the names of those that were not there.
INSERT INTO everlog.schedules (name, revision, workflow, due_at, payload)
SELECT new.name, new.revision, new.workflow, new.due_at, new.payload
FROM unnest(%(names)s, %(revisions)s, %(workflows)s, %(due_ats)s, %(payloads)s)
    AS new (name, revision, workflow, due_at, payload)
ORDER BY new.name
ON CONFLICT (name) DO NOTHING
RETURNING schedules.name
