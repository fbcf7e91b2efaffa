-- The first part is committed by itself: from then on nobody logs in, so nobody comes back after his session was ended.
-- Run twice it changes nothing: the server repeats a revocation whose answer was lost. The server takes the text as one
-- where it finds a word END with a space before it.
DO $$
 BEGIN
   IF EXISTS (SELECT FROM pg_roles WHERE rolname = '{{name}}') THEN
     ALTER ROLE "{{name}}" NOLOGIN;
   END IF;
 END; $$;
COMMIT;
SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = '{{name}}';
-- A login that was checked before the commit shows itself a moment later.
SELECT pg_sleep(0.2);
SELECT pg_stat_clear_snapshot();
SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = '{{name}}';
DO $$
 BEGIN
   IF EXISTS (SELECT FROM pg_roles WHERE rolname = '{{name}}') THEN
     REASSIGN OWNED BY "{{name}}" TO broker_owner;
     DROP OWNED BY "{{name}}";
     DROP ROLE "{{name}}";
   END IF;
 END; $$;
