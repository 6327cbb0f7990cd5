-- Write the tokens of who admits into heads that nobody holds.
UPDATE heads
SET
    state = 'queued',
    token = taken.column2,
    worker = taken.column3
FROM (VALUES (?, ?, ?)) AS taken
WHERE heads.number = taken.column1 AND heads.token IS NULL AND heads.state = 'enqueued'
