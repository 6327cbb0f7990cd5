-- Retention: what is kept whatever rules say, and who removed what.

-- Coordination: workflows that nobody removes or writes anew.
CREATE TABLE everlog.holds (
    workflow_id text COLLATE "C" NOT NULL,
    held_at bigint NOT NULL,
    held_by text NOT NULL,
    reason text NOT NULL,
    CONSTRAINT one_hold_per_workflow PRIMARY KEY (workflow_id)
);

-- Coordination: what was done to workflows from outside of their histories, in order; `workflow_ids` is a JSON array.
CREATE TABLE everlog.audit (
    number bigint GENERATED ALWAYS AS IDENTITY NOT NULL,
    done_at bigint NOT NULL,
    done_by text NOT NULL,
    action text NOT NULL,
    workflow_ids text NOT NULL,
    said text NOT NULL,
    CONSTRAINT audit_in_order PRIMARY KEY (number)
);

-- Coordination: who does what one of all does, and until when nobody else begins with it.
CREATE TABLE everlog.turns (
    what text COLLATE "C" NOT NULL,
    holder text NOT NULL,
    held_until bigint NOT NULL,
    CONSTRAINT one_turn_of_a_kind PRIMARY KEY (what)
);
