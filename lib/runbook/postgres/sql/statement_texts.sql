-- What do these statements say, whose are they, and where? (The server keeps their texts without their constants.)
SELECT DISTINCT ON (statement.dbid, statement.queryid)
       statement.dbid::int8 AS dbid,
       statement.queryid,
       database.datname::text AS database,
       role.rolname::text AS session_role,
       left(statement.query, 4001) AS query
FROM pg_stat_statements(true) AS statement
LEFT JOIN pg_database AS database ON database.oid = statement.dbid
LEFT JOIN pg_roles AS role ON role.oid = statement.userid
WHERE statement.queryid = ANY (%(queryids)s::int8[])
ORDER BY statement.dbid, statement.queryid, statement.total_exec_time DESC
