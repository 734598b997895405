-- How many sessions of the service's database do work at this moment, and what do they wait for?
SELECT coalesce(wait_event_type || ': ' || wait_event, 'computing') AS waits_for, count(*) AS sessions
FROM pg_stat_activity
WHERE state = 'active' AND backend_type = 'client backend' AND pid <> pg_backend_pid()
  AND datname = current_database() AND application_name NOT LIKE 'runbook %'
GROUP BY 1
