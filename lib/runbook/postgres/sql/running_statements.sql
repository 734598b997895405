-- Which statements have been running for long, and so stand in no statistics yet?
SELECT session.pid,
       session.application_name AS application,
       session.usename::text AS session_role,
       session.datname::text AS database,
       session.query_id AS queryid,
       extract(epoch FROM clock_timestamp() - session.query_start)::float8 AS seconds,
       session.wait_event_type AS waits_for,
       left(session.query, 4001) AS query
FROM pg_stat_activity AS session
WHERE session.backend_type = 'client backend'
  AND session.state = 'active'
  AND session.pid <> pg_backend_pid()
  AND session.query_start < clock_timestamp() - make_interval(secs => %(seconds)s)
ORDER BY session.query_start
LIMIT 20
