-- Which statements have cost the most since the counters began, by one measure?
SELECT totals.dbid,
       totals.queryid,
       coalesce(database.datname::text, '') AS database,
       coalesce(role.rolname::text, '') AS session_role,
       calls,
       total_ms,
       mean_ms,
       stddev_ms,
       share,
       rows,
       blocks_read,
       read_ms,
       temp_blocks
FROM (
    SELECT *,
           100 * total_ms / nullif(sum(total_ms) OVER (), 0) AS share,
           row_number() OVER (ORDER BY total_ms DESC) AS by_total,
           row_number() OVER (ORDER BY CASE %(by)s
                                           WHEN 'mean' THEN mean_ms
                                           WHEN 'variance' THEN stddev_ms
                                           WHEN 'io' THEN blocks_read
                                           WHEN 'temp' THEN temp_blocks
                                           ELSE total_ms
                                       END DESC NULLS LAST, total_ms DESC) AS place
    FROM (
        SELECT dbid::int8 AS dbid,
               queryid,
               (array_agg(userid ORDER BY total_exec_time DESC))[1] AS userid,
               sum(calls)::int8 AS calls,
               sum(total_exec_time)::float8 AS total_ms,
               (sum(total_exec_time) / nullif(sum(calls), 0))::float8 AS mean_ms,
               max(stddev_exec_time)::float8 AS stddev_ms,
               sum(rows)::int8 AS rows,
               sum(shared_blks_read + local_blks_read)::int8 AS blocks_read,
               sum(read_ms)::float8 AS read_ms,
               sum(temp_blks_read + temp_blks_written)::int8 AS temp_blocks
        -- From 1.11 of the extension (17) on, blk_read_time is shared_blk_read_time. Which of them there is depends on
        -- the extension's version, not on the server's: the name that it does not have is taken from here, as null.
        FROM (SELECT NULL::float8 AS blk_read_time, NULL::float8 AS shared_blk_read_time) AS absent
        CROSS JOIN LATERAL (
            SELECT userid, dbid, queryid, calls, total_exec_time, stddev_exec_time, rows, shared_blks_read,
                   local_blks_read, temp_blks_read, temp_blks_written,
                   coalesce(shared_blk_read_time, blk_read_time) AS read_ms
            FROM pg_stat_statements(true)
            WHERE queryid IS NOT NULL
              -- Not the runbook's own: those of its role, and by their first words where others use that role as well.
              AND NOT (%(apart)s::bool AND userid = (SELECT oid FROM pg_roles WHERE rolname = current_user))
              AND coalesce(query, '') !~ '^\s*(-- [A-Z][^\n]*\?|(PREPARE |EXPLAIN \(.*\) EXECUTE |DEALLOCATE )"runbook_statement")'
        ) AS statement
        GROUP BY dbid, queryid
    ) AS summed
) AS totals
LEFT JOIN pg_database AS database ON database.oid = totals.dbid
LEFT JOIN pg_roles AS role ON role.oid = totals.userid
-- The costliest; each that is slow, however little it costs in all; and what a later run compares with.
WHERE place <= 50 OR mean_ms >= %(mean_ms)s::float8 AND calls >= %(calls)s::float8 OR by_total <= 1000
ORDER BY place
LIMIT 3000
