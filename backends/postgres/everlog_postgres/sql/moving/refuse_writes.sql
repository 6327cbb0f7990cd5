-- What the triggers of a closed database do, which are given the reason.
CREATE OR REPLACE FUNCTION everlog.refuse_writes() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF coalesce(current_setting('everlog_moving.writes', true), '') = 'on' THEN
        RETURN CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
    END IF;
    RAISE EXCEPTION USING ERRCODE = 'EVL01', MESSAGE = TG_ARGV[0];
END
$$
