-- Which triage items are of another sentence than their candidate?
SELECT count(*) AS rows, min(i.item_id)::text AS first
FROM triage_items AS i
JOIN candidates AS c ON c.id = i.candidate_id
WHERE c.sentence_id <> i.sentence_id
