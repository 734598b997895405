-- Which of the sessions that were looked at are still idle, and did end? (No row: none of them is.)
SELECT count(*) FILTER (WHERE ended) AS ended, count(*) FILTER (WHERE NOT ended) AS not_ended
FROM (SELECT pg_terminate_backend(session.pid) AS ended
      FROM unnest(%(pids)s::int[], %(backend_starts)s::timestamptz[]) AS seen (pid, backend_start)
      JOIN pg_stat_activity AS session USING (pid, backend_start)
      WHERE session.state = 'idle'
        AND session.state_change < clock_timestamp() - make_interval(secs => %(idle_seconds)s)) AS sessions
HAVING count(*) > 0
