-- Which statements have been running for long, and so stand in no statistics yet?
SELECT session.pid,
       session.application_name AS application,
       session.usename::text AS session_role,
       session.datname::text AS database,
       session.query_id AS queryid,
       extract(epoch FROM clock_timestamp() - session.query_start)::float8 AS seconds,
       coalesce(session.wait_event_type = 'Lock', false) AS waits_for_lock,
       count(*) FILTER (WHERE session.wait_event_type = 'Lock') OVER () AS waiting,
       count(*) OVER () AS found,
       left(session.query, 4001) AS query
FROM pg_stat_activity AS session
WHERE session.backend_type = 'client backend'
  AND session.state = 'active'
  AND session.pid <> pg_backend_pid()
  AND session.query_start < clock_timestamp() - make_interval(secs => %(seconds)s)
  AND NOT (%(apart)s::bool AND session.usename = current_user)
  AND session.query !~ '^\s*(-- [A-Z][^\n]*\?|(PREPARE |EXPLAIN \(.*\) EXECUTE |DEALLOCATE )"runbook_statement")'
-- Whoever waits for a lock is a victim: its root is what is to be found.
ORDER BY waits_for_lock, session.query_start
LIMIT 20
