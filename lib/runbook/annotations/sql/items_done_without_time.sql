-- Which triage items are completed and tell no time, or the other way round?
SELECT count(*) AS rows, min(item_id)::text AS first
FROM triage_items
WHERE (status::text = 'completed') <> (completed_at IS NOT NULL)
