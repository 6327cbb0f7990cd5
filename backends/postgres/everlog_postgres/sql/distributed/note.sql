-- Note that something was written that others may wait for: after the transaction that wrote it, on all its servers.
INSERT INTO everlog.writes (written_in) VALUES (pg_current_xact_id())
