-- How many events a fork has, and how many bytes are those which claims give.
SELECT
    count(*),
    coalesce(sum(octet_length(events.payload)) FILTER (WHERE events.seq >= %(first_seq)s), 0)::bigint
FROM everlog.events
WHERE events.workflow_id = %(workflow_id)s
