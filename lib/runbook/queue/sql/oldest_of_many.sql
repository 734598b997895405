-- Since when does the oldest item of each status that waits do so, in a table too large to count?
SELECT waiting.status,
       first.created_at AS oldest,
       extract(epoch FROM clock_timestamp() - first.created_at)::float8 AS seconds
FROM (VALUES ('pending'), ('in_review')) AS waiting (status)
CROSS JOIN LATERAL (
    -- Each by itself, so that an index that begins with the status leads to the first one.
    (SELECT created_at FROM triage_items WHERE waiting.status = 'pending' AND status = 'pending'
     ORDER BY created_at LIMIT 1)
    UNION ALL
    (SELECT created_at FROM triage_items WHERE waiting.status = 'in_review' AND status = 'in_review'
     ORDER BY created_at LIMIT 1)) AS first
ORDER BY waiting.status DESC
