-- Move heads to another state, where they still bear the token and the seq. An end, or a release, leaves them unheld.
UPDATE heads
SET
    seq = moved.column4,
    bytes = CASE WHEN moved.column15 IS NULL THEN bytes + moved.column5 ELSE moved.column5 END,
    takeovers = CASE WHEN moved.column6 THEN 0 ELSE takeovers END,
    state = moved.column7,
    ended_at = moved.column8,
    token = CASE WHEN moved.column9 THEN NULL ELSE token END,
    worker = CASE WHEN moved.column9 THEN NULL ELSE worker END,
    wake_at = moved.column10,
    topics = moved.column11,
    build = moved.column12,
    why = moved.column13,
    queue = moved.column14,
    first_seq = coalesce(moved.column15, first_seq),
    name = coalesce(moved.column16, name)
FROM (VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)) AS moved
WHERE heads.number = moved.column1
    AND heads.token IS moved.column2
    AND heads.seq = moved.column3
