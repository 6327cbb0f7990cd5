-- Take slots for steps.
INSERT INTO queue_slots (worker, slot, queue, partition)
SELECT :worker, json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]')
FROM json_each(:slots)
