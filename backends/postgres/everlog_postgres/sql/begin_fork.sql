-- Have the head of a fork say what its history is, when all of that is written.
UPDATE everlog.heads
SET
    seq = %(seq)s,
    first_seq = %(first_seq)s,
    bytes = %(size)s
WHERE heads.workflow_id = %(workflow_id)s
