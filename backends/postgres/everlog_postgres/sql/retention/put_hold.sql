-- Write a hold that was one elsewhere.
INSERT INTO everlog.holds (workflow_id, held_at, held_by, reason)
VALUES (%(workflow_id)s, %(held_at)s, %(held_by)s, %(reason)s)
