-- What has each statement cost so far? (Without its text: that stands in a file that is read as a whole.)
SELECT dbid::int8 AS dbid,
       queryid,
       sum(calls)::int8 AS calls,
       sum(total_exec_time)::float8 AS total_ms,
       sum(rows)::int8 AS rows,
       sum(shared_blks_read + local_blks_read)::int8 AS blocks_read,
       sum(temp_blks_read + temp_blks_written)::int8 AS temp_blocks
FROM pg_stat_statements(false)
WHERE queryid IS NOT NULL
  AND NOT (%(apart)s::bool AND userid = (SELECT oid FROM pg_roles WHERE rolname = current_user))
GROUP BY dbid, queryid
