-- What workflows show to others: the values they set, and streams.

-- A projection of the log: the last value of each name, and the event that set it.
CREATE TABLE published_values (
    workflow INTEGER NOT NULL,
    name TEXT NOT NULL COLLATE BINARY,
    seq INTEGER NOT NULL,
    recorded_at INTEGER NOT NULL,
    payload TEXT NOT NULL,
    CONSTRAINT one_value_per_name PRIMARY KEY (workflow, name)
);

-- Streams: rows are appended, never changed, and no replay reads them. A row holds `count` items that were written
-- together, as a JSON array, or a mark; it fills the places from `first_offset` on, without gaps.
CREATE TABLE stream_rows (
    position INTEGER PRIMARY KEY, -- the order of appending, as in events
    workflow INTEGER NOT NULL,
    stream TEXT NOT NULL COLLATE BINARY,
    first_offset INTEGER NOT NULL,
    count INTEGER NOT NULL,
    kind TEXT NOT NULL,
    written_at INTEGER NOT NULL,
    operation TEXT,
    attempt INTEGER NOT NULL,
    payload TEXT NOT NULL,
    CONSTRAINT one_row_per_place UNIQUE (workflow, stream, first_offset),
    CONSTRAINT kinds_are_known CHECK (kind IN ('items', 'reset', 'closed')),
    CONSTRAINT every_row_fills_a_place CHECK (first_offset >= 0 AND count >= 1)
);
