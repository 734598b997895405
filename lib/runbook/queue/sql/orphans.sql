-- Which items wait although what they are about is gone? (Of a large table so many percent of the pages are read.)
SELECT item.item_id::text AS item_id,
       NOT EXISTS (SELECT FROM candidates WHERE candidates.id = item.candidate_id) AS candidate_gone,
       NOT EXISTS (SELECT FROM sentences WHERE sentences.id = item.sentence_id) AS sentence_gone
FROM triage_items AS item TABLESAMPLE SYSTEM (%(percent)s)
WHERE item.status::text IN ('pending', 'in_review')
  AND (NOT EXISTS (SELECT FROM candidates WHERE candidates.id = item.candidate_id)
       OR NOT EXISTS (SELECT FROM sentences WHERE sentences.id = item.sentence_id))
LIMIT %(most)s
