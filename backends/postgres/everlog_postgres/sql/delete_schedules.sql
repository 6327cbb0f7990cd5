-- Remove the schedules of these names, which are locked.
DELETE FROM everlog.schedules
WHERE schedules.name = ANY(%(names)s)
