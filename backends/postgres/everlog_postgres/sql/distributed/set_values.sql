-- Set values of workflows whose heads have moved in this transaction.
INSERT INTO everlog.published_values (workflow_id, name, seq, recorded_at, payload)
SELECT *
FROM unnest(
    %(value_ids)s,
    %(value_names)s,
    %(value_seqs)s,
    %(value_times)s,
    %(value_payloads)s
) AS value (workflow_id, name, seq, recorded_at, payload)
ON CONFLICT (workflow_id, name) DO UPDATE
SET
    seq = excluded.seq,
    recorded_at = excluded.recorded_at,
    payload = excluded.payload
