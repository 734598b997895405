-- Which candidates are of no sentence?
SELECT count(*) AS rows, min(c.id)::text AS first
FROM candidates AS c
WHERE NOT EXISTS (SELECT FROM sentences AS s WHERE s.id = c.sentence_id)
