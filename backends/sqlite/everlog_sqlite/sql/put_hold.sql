-- Write a hold that was one elsewhere.
INSERT INTO holds (workflow_id, held_at, held_by, reason)
VALUES (:workflow_id, :held_at, :held_by, :reason)
