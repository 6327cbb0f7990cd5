-- Write the claimant's tokens into heads that nobody holds.
UPDATE heads
SET
    token = taken.column2,
    worker = taken.column3
FROM (VALUES (?, ?, ?)) AS taken
WHERE heads.number = taken.column1 AND heads.token IS NULL AND heads.ended_at IS NULL
