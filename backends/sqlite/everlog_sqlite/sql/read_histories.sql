-- Whole histories, as JSON texts of some megabytes each: every row that is fetched apart would give up the
-- interpreter's lock, and beside a busy thread each costs milliseconds.
SELECT json_group_array(json_array(workflow, seq, type, recorded_at, payload))
FROM (
    SELECT
        workflow,
        seq,
        type,
        recorded_at,
        payload,
        sum(length(CAST(payload AS BLOB))) OVER (ORDER BY workflow, seq ROWS UNBOUNDED PRECEDING) / 4000000 AS part
    FROM events
    WHERE workflow IN (SELECT value FROM json_each(:numbers))
)
GROUP BY part
ORDER BY part
