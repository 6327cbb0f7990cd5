-- Take a turn, or keep it, unless another has it whose time has not come.
INSERT INTO turns (what, holder, held_until)
VALUES (:what, :holder, :until)
ON CONFLICT (what) DO UPDATE
SET
    holder = excluded.holder,
    held_until = excluded.held_until
WHERE turns.holder = excluded.holder OR turns.held_until <= :now
