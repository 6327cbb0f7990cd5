-- What workflows are found by.

-- A projection of the log: attributes, a row for each value. One that is alone is at place 0, several are at 1, 2, 3 ...
-- `value` is the JSON text of a scalar. `created_at` is that of the head, where it never changes: so the rows of one value
-- lie in the order of pages.
CREATE TABLE attributes (
    workflow_id TEXT NOT NULL COLLATE BINARY, -- not the number: pages are in the order of ids where ages are alike
    name TEXT NOT NULL COLLATE BINARY,
    value TEXT NOT NULL COLLATE BINARY,
    place INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    CONSTRAINT one_value_per_place PRIMARY KEY (workflow_id, name, place),
    CONSTRAINT places_are_counted_from_0 CHECK (place >= 0)
) WITHOUT ROWID;

CREATE INDEX attributes_by_value ON attributes (name, value, created_at, workflow_id);
