-- Who holds the connections, in which state, and for how long has that been so?
SELECT session.datname::text AS database,
       session.usename::text AS session_role,
       session.application_name AS application,
       coalesce(host(session.client_addr), 'the local socket') AS client,
       coalesce(session.state, 'starting') AS state,
       count(*) AS connections,
       -- Where track_activities is off, nothing is known of a state but that the session is there.
       (max(extract(epoch FROM clock_timestamp() - session.state_change)))::float8 AS longest,
       (percentile_disc(0.5) WITHIN GROUP (
           ORDER BY extract(epoch FROM clock_timestamp() - session.state_change)))::float8 AS median,
       min(session.backend_start) AS oldest
FROM pg_stat_activity AS session
WHERE session.backend_type = 'client backend'
GROUP BY 1, 2, 3, 4, 5
ORDER BY connections DESC, application, state, database, session_role, client
