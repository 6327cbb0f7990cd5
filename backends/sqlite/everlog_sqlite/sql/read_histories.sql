-- Histories, from where each last continued on, as JSON texts of some megabytes each: every row that is fetched apart would give up the
-- interpreter's lock, and beside a busy thread each costs milliseconds.
SELECT json_group_array(json_array(workflow, seq, type, recorded_at, payload))
FROM (
    SELECT
        events.workflow,
        events.seq,
        events.type,
        events.recorded_at,
        events.payload,
        sum(length(CAST(events.payload AS BLOB))) OVER (ORDER BY events.workflow, events.seq ROWS UNBOUNDED PRECEDING)
        / 4000000 AS part
    FROM json_each(:numbers) AS wanted
    CROSS JOIN heads ON heads.number = wanted.value
    CROSS JOIN events ON events.workflow = heads.number AND events.seq >= heads.first_seq
)
GROUP BY part
ORDER BY part
