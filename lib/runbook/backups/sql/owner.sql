-- Whose is a database, and in which encoding and locale is it?
SELECT pg_get_userbyid(datdba)::text AS owner, pg_encoding_to_char(encoding)::text AS encoding,
       datcollate::text AS collate, datctype::text AS ctype
FROM pg_database
WHERE datname = %(database)s
