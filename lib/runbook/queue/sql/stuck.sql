-- Which items are in review for too long, or with somebody who will not finish them?
WITH people AS (
    -- Whoever an item is assigned to may be named by mail, by name or by id.
    SELECT lower(name) AS name, bool_or(is_active) AS active
    FROM users CROSS JOIN LATERAL (VALUES (email::text), (username::text), (id::text)) AS named (name)
    GROUP BY lower(name))
SELECT item.item_id::text AS item_id,
       item.assigned_to::text AS assigned_to,
       item.assigned_at::text AS assigned_at,
       extract(epoch FROM now() - CASE WHEN isfinite(item.assigned_at) THEN item.assigned_at END)::float8 / 3600 AS hours,
       people.active AS active,
       EXISTS (SELECT FROM people) AS people_known
FROM triage_items AS item
LEFT JOIN people ON people.name = lower(item.assigned_to::text)
WHERE item.status = 'in_review'
  AND (item.assigned_to IS NULL OR people.active IS NOT TRUE OR item.assigned_at IS NULL
       OR item.assigned_at < now() - %(hours)s * interval '1 hour' OR item.assigned_at > now() + interval '1 minute')
LIMIT %(most)s
