-- Which sentences are of no document?
SELECT count(*) AS rows, min(s.id)::text AS first
FROM sentences AS s
WHERE NOT EXISTS (SELECT FROM documents AS d WHERE d.doc_id = s.doc_id)
