-- Receiver of the object store's events. Run by the owner of the database; may be run again.
-- The store writes `event_time, event_data` into the view `intake.minio_event`; its trigger keeps every version of an object
-- once, wakes whoever takes in, and can never raise: one event that raises would hold back all events behind it for ever.
create schema if not exists intake;

-- Who has an account with the object store, which may well take a name with a `*` in it: such a user would see every inbox.
create table if not exists intake.supplier (
    id text primary key check (id ~ '^[a-z0-9][a-z0-9-]{2,40}$'),
    since timestamptz not null default clock_timestamp()
);

create table if not exists intake.arrival (
    id bigint generated always as identity primary key,
    bucket text not null,
    key text not null,                      -- as told: form-encoded
    version_id text not null default '',
    size bigint,
    event_time timestamptz,
    seen_at timestamptz not null default clock_timestamp(),
    done_at timestamptz,
    problem text,
    unique (bucket, key, version_id)
);

-- Whose it is: the second part of the key. Stores tell keys with `/` written as `%2F`, too.
alter table intake.arrival add column if not exists supplier text
    generated always as (split_part(regexp_replace(key, '%2f', '/', 'gi'), '/', 2)) stored;

drop index if exists intake.arrival_waiting;
create index if not exists arrival_waiting_of on intake.arrival (supplier, id) where done_at is null;

create table if not exists intake.bad_event (
    id bigint generated always as identity primary key,
    seen_at timestamptz not null default clock_timestamp(),
    event_data jsonb,
    problem text not null
);

create or replace view intake.minio_event as
select null::timestamptz as event_time, null::jsonb as event_data where false;

create or replace function intake.take_event() returns trigger
language plpgsql security definer set search_path = intake, pg_temp as $$
declare
    record jsonb;
    arrival_id bigint;
begin
    begin
        for record in select jsonb_array_elements(new.event_data -> 'Records') loop
            insert into intake.arrival (bucket, key, version_id, size, event_time)
            values (
                record #>> '{s3,bucket,name}',
                record #>> '{s3,object,key}',
                coalesce(record #>> '{s3,object,versionId}', ''),
                (record #>> '{s3,object,size}')::bigint,
                (record ->> 'eventTime')::timestamptz
            )
            on conflict do nothing
            returning id into arrival_id;
            if arrival_id is not null then
                perform pg_notify('verbund_arrivals', '');
            end if;
        end loop;
    exception when others then
        insert into intake.bad_event (event_data, problem) values (new.event_data, sqlerrm);
    end;
    return new;
end
$$;

create or replace trigger take_event instead of insert on intake.minio_event
for each row execute function intake.take_event();

revoke all on function intake.take_event() from public;
