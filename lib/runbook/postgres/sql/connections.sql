-- Who holds the connections, in which state, and for how long has that been so?
SELECT own.role,
       own.sees_all,
       session.datname::text AS database,
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
FROM (SELECT current_user::text AS role,
             (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)
                 OR pg_has_role(current_user, 'pg_read_all_stats', 'USAGE') AS sees_all) AS own
JOIN pg_stat_activity AS session ON session.backend_type = 'client backend'
GROUP BY 1, 2, 3, 4, 5, 6, 7
ORDER BY connections DESC
