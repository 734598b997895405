-- Which triage items are about no candidate?
SELECT count(*) AS rows, min(i.item_id)::text AS first
FROM triage_items AS i
WHERE NOT EXISTS (SELECT FROM candidates AS c WHERE c.id = i.candidate_id)
