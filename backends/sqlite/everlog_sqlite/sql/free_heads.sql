-- Take the tokens of all that a worker holds. What was running is counted as taken over, unless its holder, who came
-- after one that died, has committed nothing: that is told by the reason, which a commit overwrites.
UPDATE heads
SET
    token = NULL,
    worker = NULL,
    takeovers = takeovers + (state = 'running' AND why IS NOT :worker_died),
    why = CASE WHEN state = 'running' THEN :worker_died ELSE why END
WHERE worker = :worker
