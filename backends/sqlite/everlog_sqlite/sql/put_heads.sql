-- Write heads as they were elsewhere, unheld.
INSERT INTO heads (
    number,
    workflow_id,
    name,
    state,
    seq,
    bytes,
    created_at,
    ended_at,
    wake_at,
    topics,
    takeovers,
    build,
    why,
    queue,
    first_seq
)
SELECT
    column1,
    column2,
    column3,
    column4,
    column5,
    column6,
    column7,
    column8,
    column9,
    column10,
    column11,
    column12,
    column13,
    column14,
    column15
FROM (VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?))
WHERE column1 > 0
