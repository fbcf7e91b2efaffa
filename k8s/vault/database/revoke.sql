SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{{name}}';
REASSIGN OWNED BY "{{name}}" TO broker_owner;
DROP OWNED BY "{{name}}";
DROP ROLE IF EXISTS "{{name}}";
