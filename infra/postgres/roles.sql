-- Who may do what in the platform's database, beside the platform itself, which is the role that owns it. Run by a
-- superuser in that database after the schemas are there (`verbund server init` does); may be run again.
--
--   verbund_bi_open, verbund_bi_region   groups: who is in one reads what releases serve in schema `bi`. Which tables, the
--                                        publishing of a release grants by the access level of their contracts.
--   minio_notify                         what the object store tells arrivals with: writes into one view, nothing else
--
-- People get roles of their own in a group: `verbund server reader`.
do $$
declare
    here name := current_database();
    platform name := (select pg_get_userbyid(datdba) from pg_database where datname = current_database());
    wanted text;
    routine regprocedure;
begin
    -- roles are those of the whole server: somebody else may be making them now
    foreach wanted in array array['verbund_bi_open nologin', 'verbund_bi_region nologin', 'minio_notify login'] loop
        begin
            execute 'create role ' || wanted;
        exception when duplicate_object or unique_violation then
            null;
        end;
    end loop;

    -- anybody may connect to a new database, make temporary tables, and in an old one more
    execute format('revoke all on database %I from public', here);
    execute format('grant connect on database %I to verbund_bi_open, verbund_bi_region, minio_notify', here);
    execute 'revoke all on schema public from public';
    execute format('grant all on schema public to %I', platform);

    execute 'grant usage on schema bi to verbund_bi_open, verbund_bi_region';
    execute 'grant usage on schema intake to minio_notify';
    execute 'grant insert, select on intake.minio_event to minio_notify';
    execute format('alter role minio_notify in database %I set search_path = intake', here);

    -- whoever is let in could hold the locks by which judges and builds take turns, and fill the disk with large objects
    for routine in
        select p.oid::regprocedure from pg_proc as p
        where p.pronamespace = 'pg_catalog'::regnamespace
            and (p.proname ~ '^pg_(try_)?advisory_' or p.proname ~ '^(lo_(creat|create|from_bytea|put|open|unlink|truncate|truncate64)|lowrite)$')
    loop
        execute format('revoke execute on function %s from public', routine);
        execute format('grant execute on function %s to %I', routine, platform);
    end loop;

    -- a setting of a group does not reach its members, one of the database does; the platform's own work takes its time
    execute format('alter database %I set statement_timeout = ''5min''', here);
    execute format('alter database %I set idle_in_transaction_session_timeout = ''10min''', here);
    execute format('alter role %I in database %I set statement_timeout = 0', platform, here);
    execute format('alter role %I in database %I set idle_in_transaction_session_timeout = 0', platform, here);

    -- and those a reader lifts for itself hold nevertheless: the intake looks for them at every sweep. Chosen first and ended
    -- then, because in one condition the ending could come before the choosing.
    create or replace function intake.end_long_reads(longest interval) returns bigint
    language sql security definer set search_path = pg_catalog as $body$
        with long as materialized (
            select a.pid from pg_stat_activity as a
            where a.datname = current_database() and a.xact_start < now() - longest and a.pid <> pg_backend_pid()
                and exists (
                    select from pg_auth_members as m join pg_roles as g on g.oid = m.roleid
                    where m.member = a.usesysid and g.rolname in ('verbund_bi_open', 'verbund_bi_region')
                )
        )
        select count(*) filter (where pg_terminate_backend(pid)) from long
    $body$;
    revoke all on function intake.end_long_reads from public;
    execute format('grant execute on function intake.end_long_reads to %I', platform);
end
$$;
