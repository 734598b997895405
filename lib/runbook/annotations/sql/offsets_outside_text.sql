-- Which candidates lie outside of the text of their sentence, or end before they begin?
SELECT count(*) AS rows, min(c.id)::text AS first
FROM candidates AS c
JOIN sentences AS s ON s.id = c.sentence_id
WHERE c.start_offset < 0 OR c.end_offset <= c.start_offset OR c.end_offset > length(s.text)
