-- Whose is a database, and in which encoding and locale is it?
SELECT pg_get_userbyid(datdba)::text AS owner, pg_encoding_to_char(encoding)::text AS encoding,
       datcollate::text AS collate, datctype::text AS ctype,
       -- By their names: before 15 there is no provider, and its locale is called otherwise since 17.
       coalesce(to_jsonb(d) ->> 'datlocprovider', 'c') AS provider,
       coalesce(to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale', '') AS locale
FROM pg_database d
WHERE datname = %(database)s
