-- All registered workers, as one JSON text.
SELECT json_group_array(json_array(worker, process, lease_until))
FROM workers
