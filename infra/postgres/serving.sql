-- What readers of the schema `bi` rest on; run by whoever publishes a release, as often as they like.
--
-- Rows lie in `bi_data`, a partition for what one release brought anew of one table. `bi_data.content` says which
-- partitions a release consists of; adding its lines is what publishes it, so readers meet it in one step and wait for
-- nobody. The views in `bi` are the only door: roles have rights on them and none on `bi_data`.

create table if not exists bi_data.content (
    release integer not null,
    relation text not null,
    version integer not null,
    sha256 text not null,
    primary key (release, relation)
);
create sequence if not exists bi_data.version;
comment on table bi_data.content is 'Which rows a release consists of: relation and version (value of its partition key).';

-- Which version of a relation this transaction reads. The first question of a transaction settles the release for all
-- that follow, so two statements speak of the same one whatever the isolation level; `set verbund.release = 6` asks for
-- an earlier one as long as it is kept. The lock tells those who take old releases away that somebody reads this one.
create or replace function bi.version_of(of_relation text) returns integer
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    pinned integer := nullif(current_setting('verbund.release', true), '');
    found_version integer;
begin
    if pinned is null then
        select max(release) into pinned from bi_data.content;
        perform set_config('verbund.release', pinned::text, true);
    end if;
    perform pg_advisory_xact_lock_shared(7286003, pinned);
    select version into found_version from bi_data.content where release = pinned and relation = of_relation;
    -- a name is looked up as it is now, a row as it was when the transaction began
    if found_version is null or to_regclass(format('bi_data.%I', 'kept_' || pinned)) is null then
        raise exception 'release % is not kept here, or has this table in another shape', pinned
            using errcode = 'object_not_in_prerequisite_state',
            hint = (select 'There are: ' || string_agg(distinct release::text, ', ') || '.' from bi_data.content)
                || ' Begin a new transaction, or set verbund.release to one of these.';
    end if;
    return found_version;
end
$$;
comment on function bi.version_of(text) is 'What the views of this schema ask; settles the release of a transaction.';
