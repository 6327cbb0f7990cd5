-- Keep what ended workflows left unread out of the way of claims, and bring it back when they are opened again.
UPDATE inbox
SET closed = :closed
WHERE workflow IN (SELECT value FROM json_each(:workflows))
