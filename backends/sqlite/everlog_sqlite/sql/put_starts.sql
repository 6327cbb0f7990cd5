-- Write the starts that the rates of a queue count, in the place of those that are there.
INSERT INTO queue_starts (queue, partition, started_at)
SELECT :queue, json_extract(value, '$[0]'), json_extract(value, '$[1]')
FROM json_each(:starts)
