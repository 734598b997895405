-- Which roles are there, as whom may each act, and what may it do with the service's tables?
WITH tables AS (
    SELECT relation.oid, relation.relowner, relation.relname, relation.relacl
    FROM pg_class AS relation
    JOIN pg_namespace AS schema ON schema.oid = relation.relnamespace
    WHERE relation.relkind IN ('r', 'p')
      AND schema.nspname NOT LIKE 'pg\_%' AND schema.nspname <> 'information_schema'
      AND NOT EXISTS (SELECT FROM pg_depend AS extension
                      WHERE extension.classid = 'pg_class'::regclass AND extension.objid = relation.oid
                        AND extension.deptype = 'e')
), passwords AS (
    SELECT column_of.attrelid, column_of.attnum FROM pg_attribute AS column_of
    JOIN tables ON tables.oid = column_of.attrelid
    WHERE column_of.attname = 'hashed_password' AND NOT column_of.attisdropped
)
SELECT role.rolname::text AS role, role.rolcanlogin AS can_log_in, role.rolsuper AS is_superuser,
       array_to_string(ARRAY(SELECT parent.rolname::text FROM pg_auth_members AS membership
                             JOIN pg_roles AS parent ON parent.oid = membership.roleid
                             WHERE membership.member = role.oid ORDER BY parent.rolname), ', ') AS member_of,
       (SELECT count(*) FROM tables WHERE relowner = role.oid) AS owns,
       EXISTS (SELECT FROM tables WHERE pg_has_role(role.oid, relowner, 'MEMBER')) AS acts_as_owner,
       EXISTS (SELECT FROM pg_roles AS super
               WHERE super.rolsuper AND pg_has_role(role.oid, super.oid, 'MEMBER')) AS becomes_superuser,
       (SELECT count(*) FROM tables
        WHERE has_table_privilege(role.oid, tables.oid, 'INSERT, UPDATE, DELETE, TRUNCATE')) AS writes,
       EXISTS (SELECT FROM passwords WHERE has_column_privilege(role.oid, attrelid, attnum, 'SELECT')) AS reads_passwords,
       false AS makes_tables
FROM pg_roles AS role
WHERE role.rolname NOT LIKE 'pg\_%'
UNION ALL
SELECT 'PUBLIC', false, false, '', 0, false, false,
       (SELECT count(*) FROM tables
        WHERE EXISTS (SELECT FROM aclexplode(tables.relacl) AS right_of
                      WHERE right_of.grantee = 0
                        AND right_of.privilege_type IN ('INSERT', 'UPDATE', 'DELETE', 'TRUNCATE'))),
       EXISTS (SELECT FROM passwords WHERE has_column_privilege('public', attrelid, attnum, 'SELECT')),
       EXISTS (SELECT FROM pg_namespace WHERE nspname = 'public' AND has_schema_privilege('public', oid, 'CREATE'))
ORDER BY 1
