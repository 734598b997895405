-- When were the newest and the oldest annotation made, how many are of a time to come, and does any item wait?
SELECT (SELECT max(timestamp) FROM annotation_events WHERE timestamp <= now() + interval '1 minute') AS newest,
       (SELECT min(timestamp) FROM annotation_events WHERE isfinite(timestamp)) AS oldest,
       (SELECT count(*) FROM (SELECT FROM annotation_events WHERE timestamp > now() + interval '1 minute' LIMIT 1000)
        AS ahead_of_us) AS ahead,
       EXISTS (SELECT FROM triage_items WHERE status = 'pending')
           OR EXISTS (SELECT FROM triage_items WHERE status = 'in_review') AS waiting,
       now() AS asked
