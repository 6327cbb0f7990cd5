-- Give back what a claim took whose answer was lost: nobody runs it.
UPDATE everlog.heads
SET
    token = NULL,
    worker = NULL
WHERE heads.worker = %(worker)s AND heads.token = ANY(%(tokens)s)
