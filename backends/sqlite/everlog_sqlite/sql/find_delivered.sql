-- Which of these messages were delivered before: the index, the row if it is still unread, whether the key is known.
SELECT json_group_array(json_array(sent.key, inbox.row, message_keys.key IS NOT NULL))
FROM json_each(:messages) AS sent
LEFT JOIN inbox
    ON inbox.workflow = json_extract(sent.value, '$[0]')
    AND inbox.source = json_extract(sent.value, '$[1]')
    AND inbox.number = json_extract(sent.value, '$[2]')
LEFT JOIN message_keys
    ON message_keys.workflow = json_extract(sent.value, '$[0]')
    AND message_keys.key = json_extract(sent.value, '$[3]')
WHERE inbox.row IS NOT NULL OR message_keys.key IS NOT NULL
