-- Which sessions of an application have been idle for so long, outside of a transaction?
SELECT session.pid,
       session.backend_start::text AS backend_start,
       session.usename::text AS session_role,
       coalesce(host(session.client_addr), 'the local socket') AS client,
       extract(epoch FROM clock_timestamp() - session.state_change)::float8 AS idle_seconds,
       -- What pg_terminate_backend asks for. Null where the operator's role is not known here.
       owner.rolsuper AS session_is_superuser,
       operator.rolname::text AS operator,
       operator.rolsuper OR (NOT owner.rolsuper AND (pg_has_role(operator.oid, owner.oid, 'USAGE')
                                                     OR pg_has_role(operator.oid, 'pg_signal_backend', 'USAGE')))
           AS operator_may
FROM pg_stat_activity AS session
LEFT JOIN pg_roles AS owner ON owner.oid = session.usesysid
LEFT JOIN pg_roles AS operator ON operator.rolname = %(operator)s
WHERE session.backend_type = 'client backend'
  -- One without a name is named by its role, as the question about the connections does.
  AND coalesce(nullif(session.application_name, ''), '(role ' || session.usename || ')') = %(application)s
  AND session.state = 'idle'
  AND session.state_change < clock_timestamp() - make_interval(secs => %(seconds)s)
  AND session.pid <> pg_backend_pid()
ORDER BY idle_seconds DESC
