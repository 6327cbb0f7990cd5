-- Make room for the record of another database.
DELETE FROM everlog.audit
