-- What else is different where the tables are distributed; run once more it changes nothing.
-- Candidates of a claim are found for all names at once, since no server may be asked for some of each name.
CREATE INDEX IF NOT EXISTS heads_ready_by_age ON everlog.heads (created_at, workflow_id)
    WHERE token IS NULL AND state IN ('queued', 'running');
CREATE INDEX IF NOT EXISTS heads_sleeping_by_time ON everlog.heads (wake_at, workflow_id)
    WHERE token IS NULL AND state = 'waiting' AND wake_at IS NOT NULL;

-- Only hints are in it, and who connects anew takes everything for changed: so the coordinator need not write a log of
-- its own for the sake of a note.
ALTER TABLE everlog.writes SET UNLOGGED;
