-- Take rows that a commit consumed out of the inbox of its workflow.
DELETE FROM inbox
WHERE row IN (
    SELECT unread.row
    FROM json_each(:consumed) AS consumed
    CROSS JOIN inbox AS unread
        ON unread.row = json_extract(consumed.value, '$[0]')
        AND unread.workflow = json_extract(consumed.value, '$[1]')
)
