-- What workflows are found by.

-- A projection of the log: attributes, a row for each value. One that is alone is at place 0, several are at 1, 2, 3 ...
-- `value` is the JSON text of a scalar. `created_at` is that of the head, where it never changes: so the rows of one value
-- lie in the order of pages.
CREATE TABLE everlog.attributes (
    workflow_id text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    value text COLLATE "C" NOT NULL,
    place bigint NOT NULL,
    created_at bigint NOT NULL,
    CONSTRAINT one_value_per_place PRIMARY KEY (workflow_id, name, place),
    CONSTRAINT places_are_counted_from_0 CHECK (place >= 0)
);

-- Without the id, which would make rows of the longest texts too long for an index.
CREATE INDEX attributes_by_value ON everlog.attributes (name, value, created_at);
