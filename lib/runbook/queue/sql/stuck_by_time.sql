-- Which items are in review for too long, whoever has them?
SELECT item_id::text AS item_id,
       assigned_to::text AS assigned_to,
       assigned_at::text AS assigned_at,
       extract(epoch FROM now() - CASE WHEN isfinite(assigned_at) THEN assigned_at END)::float8 / 3600 AS hours,
       NULL::boolean AS active,
       false AS people_known
FROM triage_items
WHERE status = 'in_review'
  AND (assigned_to IS NULL OR assigned_at IS NULL
       OR assigned_at < now() - %(hours)s * interval '1 hour' OR assigned_at > now() + interval '1 minute')
LIMIT %(most)s
