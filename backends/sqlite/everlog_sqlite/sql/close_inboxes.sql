-- Keep what ended workflows left unread out of the way of claims.
UPDATE inbox
SET closed = 1
WHERE workflow IN (SELECT value FROM json_each(:workflows))
