-- Take the tokens of all that a worker holds; what was running is counted as taken over.
UPDATE heads
SET
    token = NULL,
    worker = NULL,
    takeovers = takeovers + (state = 'running')
WHERE worker = :worker
