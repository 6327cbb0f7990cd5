-- Remove workflows that have ended, with all that is kept of them; gives their ids.
WITH removed AS (
    DELETE FROM everlog.heads
    WHERE heads.workflow_id = ANY(%(workflow_ids)s) AND heads.ended_at IS NOT NULL
    RETURNING heads.workflow_id
),

histories AS (
    DELETE FROM everlog.events
    USING removed
    WHERE events.workflow_id = removed.workflow_id
),

inboxes AS (
    DELETE FROM everlog.inbox
    USING removed
    WHERE inbox.workflow_id = removed.workflow_id
),

keys AS (
    DELETE FROM everlog.message_keys
    USING removed
    WHERE message_keys.workflow_id = removed.workflow_id
),

set_values AS (
    DELETE FROM everlog.published_values
    USING removed
    WHERE published_values.workflow_id = removed.workflow_id
),

streams AS (
    DELETE FROM everlog.stream_rows
    USING removed
    WHERE stream_rows.workflow_id = removed.workflow_id
),

open_waits AS (
    DELETE FROM everlog.waits
    USING removed
    WHERE waits.workflow_id = removed.workflow_id
),

attributes AS (
    DELETE FROM everlog.attributes
    USING removed
    WHERE attributes.workflow_id = removed.workflow_id
),

noted AS (
    INSERT INTO everlog.writes (written_in)
    SELECT pg_current_xact_id()
    WHERE EXISTS (SELECT FROM removed)
)

SELECT removed.workflow_id
FROM removed
