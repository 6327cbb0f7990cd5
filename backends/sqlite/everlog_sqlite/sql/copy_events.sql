-- Copy the first events of one history to another, save those that it has of its own.
INSERT INTO events (workflow, seq, type, recorded_at, payload)
SELECT
    :number,
    seq,
    type,
    recorded_at,
    payload
FROM events
WHERE workflow = :source AND seq <= :until AND seq NOT IN (SELECT value FROM json_each(:own))
ORDER BY seq
