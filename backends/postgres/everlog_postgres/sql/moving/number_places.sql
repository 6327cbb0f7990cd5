-- Have who is put into a queue from now on come behind those that are there.
SELECT setval(pg_get_serial_sequence('everlog.queue_places', 'came'), greatest(max(queue_places.came), 1))
FROM everlog.queue_places
