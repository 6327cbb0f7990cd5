-- Have the transaction that is open hold the write lock of the file before anything is read in it: no row is deleted.
DELETE FROM heads
WHERE 0
