-- A page of schedules in order of their names.
SELECT
    schedules.name,
    schedules.revision,
    schedules.workflow,
    schedules.due_at,
    schedules.payload
FROM everlog.schedules
WHERE schedules.name > %(after)s AND (%(names)s::text[] IS NULL OR schedules.name = ANY(%(names)s::text[]))
ORDER BY schedules.name
LIMIT %(limit)s
