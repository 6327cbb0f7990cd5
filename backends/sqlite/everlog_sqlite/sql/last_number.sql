-- The number that was last given to a workflow, 0 before the first.
SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'heads'), 0)
