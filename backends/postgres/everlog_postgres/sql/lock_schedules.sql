-- Lock the schedules of these names that are there, each in the newest version there is; always in the same order.
SELECT
    schedules.name,
    schedules.revision
FROM everlog.schedules
WHERE schedules.name = ANY(%(names)s)
ORDER BY schedules.name
FOR UPDATE
