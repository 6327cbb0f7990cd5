-- Move heads that run on and wait for nothing, before as after: the usual commit. It touches no indexed column.
UPDATE heads
SET
    seq = moved.column4,
    bytes = bytes + moved.column5,
    takeovers = CASE WHEN moved.column6 THEN 0 ELSE takeovers END
FROM (VALUES (?, ?, ?, ?, ?, ?)) AS moved
WHERE heads.number = moved.column1
    AND heads.token = moved.column2
    AND heads.seq = moved.column3
    AND heads.state = 'running'
    AND heads.wake_at IS NULL
    AND heads.topics = '[]'
    AND heads.build IS NULL
    AND heads.why IS NULL
