-- Databases that are moved to another.

-- Coordination: why the database is closed, if it is, as JSON: one row at most. What closes it are triggers, which are
-- there only while it is: so writes need not look here.
CREATE TABLE everlog.moves (
    place integer NOT NULL PRIMARY KEY,
    payload text NOT NULL,
    CONSTRAINT one_move_at_a_time CHECK (place = 1)
);
