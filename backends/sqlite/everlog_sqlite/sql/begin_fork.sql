-- Have the head of a fork say what its history is, when all of that is written.
UPDATE heads
SET
    seq = :seq,
    first_seq = :first_seq,
    bytes = (
        SELECT sum(length(CAST(payload AS BLOB)))
        FROM events
        WHERE workflow = :number AND seq >= :first_seq
    )
WHERE number = :number
