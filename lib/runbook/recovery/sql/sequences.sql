-- Where does each sequence stand?
SELECT schemaname::text AS schema, sequencename::text AS name, last_value
FROM pg_sequences
WHERE last_value IS NOT NULL
ORDER BY 1, 2
