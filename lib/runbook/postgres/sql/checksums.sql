-- Has PostgreSQL met a damaged page since its statistics began, and would it notice one?
SELECT coalesce(datname::text, 'shared catalogs') AS database, current_setting('data_checksums') AS data_checksums,
       coalesce(checksum_failures, 0) AS failures, checksum_last_failure AS last_failure, stats_reset
FROM pg_stat_database
WHERE datname IS NULL OR datname = current_database() OR checksum_failures > 0
ORDER BY failures DESC, database
LIMIT 50
