-- Have all that follows in this transaction be as of one moment.
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ
