-- What workflows show to others: the values they set, and streams.

-- A projection of the log: the last value of each name, and the event that set it.
CREATE TABLE everlog.published_values (
    workflow_id text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    seq bigint NOT NULL,
    recorded_at bigint NOT NULL,
    payload text NOT NULL,
    CONSTRAINT one_value_per_name PRIMARY KEY (workflow_id, name)
) WITH (fillfactor = 50);

-- Streams: rows are appended, never changed, and no replay reads them. A row holds `count` items that were written
-- together, as a JSON array, or a mark; it fills the places from `first_offset` on, without gaps.
CREATE TABLE everlog.stream_rows (
    workflow_id text COLLATE "C" NOT NULL,
    stream text COLLATE "C" NOT NULL,
    first_offset bigint NOT NULL,
    count bigint NOT NULL,
    kind text COLLATE "C" NOT NULL,
    written_at bigint NOT NULL,
    operation text,
    attempt bigint NOT NULL,
    payload text NOT NULL,
    CONSTRAINT one_row_per_place PRIMARY KEY (workflow_id, stream, first_offset),
    CONSTRAINT kinds_are_known CHECK (kind IN ('items', 'reset', 'closed')),
    CONSTRAINT every_row_fills_a_place CHECK (first_offset >= 0 AND count >= 1)
);
