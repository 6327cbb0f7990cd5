-- Append to histories whose heads have moved, or were created, in this transaction.
INSERT INTO everlog.events (workflow_id, seq, type, recorded_at, payload)
SELECT *
FROM unnest(
    %(event_ids)s,
    %(event_seqs)s,
    %(event_types)s,
    %(event_times)s,
    %(event_payloads)s
) AS event (workflow_id, seq, type, recorded_at, payload)
