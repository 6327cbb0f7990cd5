-- Take a turn, or keep it, unless another has it whose time has not come; gives a row where it is taken.
INSERT INTO everlog.turns (what, holder, held_until)
VALUES (%(what)s, %(holder)s, %(until)s)
ON CONFLICT (what) DO UPDATE
SET
    holder = excluded.holder,
    held_until = excluded.held_until
WHERE turns.holder = excluded.holder OR turns.held_until <= %(now)s
RETURNING turns.holder
