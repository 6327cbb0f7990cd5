-- Workflows that continue as new: what lies before stays in the log, and claims do not read it.

-- A projection of the log: the seq from which the history is read, that of the last `workflow_continued`, or else 1. From
-- here on `bytes` is of the payloads from that seq on.
ALTER TABLE heads ADD COLUMN first_seq INTEGER NOT NULL DEFAULT 1
    CONSTRAINT histories_are_read_from_an_event_on CHECK (first_seq BETWEEN 1 AND seq);
