-- What is the whole text of one statement, or of those that have cost a role the most in this database?
SELECT queryid,
       query,
       calls,
       mean_exec_time::float8 AS mean_ms,
       left(query, 4001) AS shown
FROM pg_stat_statements(true)
WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND (queryid = %(queryid)s::int8
       OR %(queryid)s::int8 = 0
          AND userid = (SELECT oid FROM pg_roles WHERE rolname = %(role)s)
          -- What can have a plan; a comment may stand before it.
          AND query ~* '^(\s|\(|--[^\n]*\n|/\*.*?\*/)*(select|with|insert|update|delete|merge|values|table)\M')
ORDER BY total_exec_time DESC
LIMIT CASE %(queryid)s::int8 WHEN 0 THEN 10 ELSE 1 END
