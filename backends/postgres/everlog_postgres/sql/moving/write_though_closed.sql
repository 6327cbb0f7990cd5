-- Have this transaction write also where the database is closed; says whether it is.
SELECT set_config('everlog_moving.writes', 'on', true), EXISTS (SELECT FROM everlog.moves)
