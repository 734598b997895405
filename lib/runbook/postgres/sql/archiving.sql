-- Is what the server writes archived, and when did that fail last?
SELECT current_setting('archive_mode') AS mode,
       pg_is_in_recovery() AS in_recovery,
       -- Never the command itself. It says (disabled) where archive_mode is off; a library takes its place from 15 on.
       coalesce(nullif(current_setting('archive_command'), ''), nullif(current_setting('archive_library', true), ''))
           IS NOT NULL AS has_way,
       current_user::text AS role,
       archiver.archived_count,
       archiver.failed_count,
       archiver.last_archived_time,
       archiver.last_failed_wal,
       archiver.last_failed_time,
       extract(epoch FROM clock_timestamp() - archiver.last_archived_time)::float8 AS archived_seconds,
       extract(epoch FROM clock_timestamp() - archiver.last_failed_time)::float8 AS failed_seconds,
       archiver.stats_reset
FROM pg_stat_archiver AS archiver
