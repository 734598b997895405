-- Which statements have cost the most since the counters began, by one measure?
SELECT totals.dbid,
       totals.queryid,
       calls,
       total_ms,
       total_ms / nullif(calls, 0) AS mean_ms,
       stddev_ms,
       100 * total_ms / nullif(sum(total_ms) OVER (), 0) AS share,
       rows,
       blocks_read,
       read_ms,
       temp_blocks
FROM (
    SELECT dbid::int8 AS dbid,
           queryid,
           sum(calls)::int8 AS calls,
           sum(total_exec_time)::float8 AS total_ms,
           max(stddev_exec_time)::float8 AS stddev_ms,
           sum(rows)::int8 AS rows,
           sum(shared_blks_read + local_blks_read)::int8 AS blocks_read,
           sum(read_ms)::float8 AS read_ms,
           sum(temp_blks_read + temp_blks_written)::int8 AS temp_blocks
    -- From 1.11 of the extension (17) on, blk_read_time is shared_blk_read_time. Which of them there is depends on the
    -- extension's version, not on the server's: the name that it does not have is taken from here, as null.
    FROM (SELECT NULL::float8 AS blk_read_time, NULL::float8 AS shared_blk_read_time) AS absent
    CROSS JOIN LATERAL (
        SELECT dbid, queryid, calls, total_exec_time, stddev_exec_time, rows, shared_blks_read, local_blks_read,
               temp_blks_read, temp_blks_written, coalesce(shared_blk_read_time, blk_read_time) AS read_ms
        FROM pg_stat_statements(false)
        WHERE queryid IS NOT NULL
    ) AS statement
    GROUP BY dbid, queryid
) AS totals
ORDER BY CASE %(by)s
             WHEN 'mean' THEN total_ms / nullif(calls, 0)
             WHEN 'variance' THEN stddev_ms
             WHEN 'io' THEN blocks_read
             WHEN 'temp' THEN temp_blocks
             ELSE total_ms
         END DESC NULLS LAST, total_ms DESC
LIMIT 50
