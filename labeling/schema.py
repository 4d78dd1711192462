"""The tables, as numbered migrations.

One SQLite file holds the whole loop: prompts, responses, tasks, rankings, rounds, policies, metrics and
people. It is the only thing between the web process and the worker, and it is also the archive: anyone
can open it with Datasette or pandas. Times are Unix seconds (UTC), JSON columns hold one JSON object.

Migrations are applied once, by `app.py`, before the worker starts. A file written by a newer Podium is
refused with one sentence (`store.open_store`), never migrated down.
"""

from sqlite_utils import Database
from sqlite_utils.migrations import Migrations

migrations = Migrations("podium")

SCHEMA = """
create table settings (                       -- what this run directory was made with
    key text primary key,
    value text not null                       -- JSON
);

create table people (
    id integer primary key,
    token_hash text not null unique,          -- sha256 of the session cookie; the cookie itself is not kept
    name text not null unique,
    kind text not null check (kind in ('human', 'program')),
    created_at real not null
);

create table prompts (
    id integer primary key,
    text text not null unique,
    source text not null,                     -- 'starter', a file name, 'lab'
    split text not null check (split in ('train', 'heldout')),
    created_at real not null
);

create table passed_over (                    -- nothing to choose between: all responses were alike
    prompt_id integer not null references prompts (id),
    policy_version integer not null references policies (version),
    times integer not null default 1,
    primary key (prompt_id, policy_version)
);

create table rounds (                         -- enough rankings arrived -> reward model -> PPO -> an outcome
    id integer primary key,
    state text not null check (state in ('running', 'published', 'rejected', 'failed', 'stopped')),
    reason text,                              -- one sentence when not published
    trained_from integer not null,            -- the last ranking id of the round before (exclusive)
    trained_through integer not null,         -- the last ranking id this round uses (inclusive)
    rankings integer not null,                -- how many the reward model saw, all rounds' together
    parent_version integer not null,          -- the policy the round started from
    attempts integer not null default 1,      -- 2 when a killed worker began it again
    config text not null,                     -- JSON: every setting of the round
    summary text,                             -- JSON: accuracy, win rate, KL, length ... at the end
    started_at real not null,
    ended_at real
);
create unique index one_running_round on rounds (state) where state = 'running';

create table policies (                       -- version 0 is the SFT reference; a row is the publication
    version integer primary key,
    parent_version integer references policies (version),
    round_id integer references rounds (id),
    path text not null,                       -- weights: 0: folder or hub id; else in the run directory
    model text not null,                      -- the --model it descends from
    summary text,                             -- JSON
    created_at real not null
);
create table publications (                   -- which policy answers, and since when; going back adds a row
    id integer primary key,
    policy_version integer not null references policies (version),
    reason text not null,
    created_at real not null
);

create table responses (
    id integer primary key,
    prompt_id integer not null references prompts (id),
    policy_version integer not null references policies (version),  -- who wrote it
    text text not null,
    tokens integer not null,                  -- without EOS
    finished integer not null check (finished in (0, 1)),   -- ended by EOS, not cut
    sampling text not null,                   -- JSON: temperature, top_p, max_new_tokens, seed
    created_at real not null
);
create index responses_prompt on responses (prompt_id);

create table tasks (
    id integer primary key,
    prompt_id integer not null references prompts (id),
    policy_version integer not null references policies (version),  -- whom it judges; others stand beside
    state text not null default 'open' check (state in ('open', 'ranked', 'skipped', 'retired')),
    leased_by integer references people (id),
    leased_until real,
    created_at real not null,
    closed_at real
);
create index tasks_open on tasks (policy_version, id) where state = 'open';
create index tasks_prompt on tasks (prompt_id);

create table task_responses (                 -- shuffled once, when the task is made
    task_id integer not null references tasks (id),
    position integer not null,                -- 0 is shown as Response A
    response_id integer not null references responses (id),
    primary key (task_id, position)
);

create table rankings (
    id integer primary key,
    nonce text not null unique,               -- made by the client: a retry changes nothing
    task_id integer not null references tasks (id),
    person_id integer not null references people (id),
    kind text not null check (kind in ('ranked', 'skipped')),
    seconds real,                             -- active on the task, as the client measured it
    created_at real not null,
    withdrawn_at real                         -- undone: leaves the next training set, stays on record
);
create index rankings_person on rankings (person_id, id);
create index rankings_task on rankings (task_id);
create unique index one_ranking_per_task on rankings (task_id) where withdrawn_at is null;
create index rankings_counted on rankings (person_id, id) where withdrawn_at is null and kind = 'ranked';

create table ranks (
    ranking_id integer not null references rankings (id),
    response_id integer not null references responses (id),
    position integer not null,                -- where it was shown
    rank integer not null,                    -- 1 is best, equal is a tie
    primary key (ranking_id, response_id)
);

create table metrics (
    id integer primary key,
    round_id integer not null references rounds (id),
    attempt integer not null,                 -- a repeated round's curve replaces the broken one
    step integer not null,
    name text not null,                       -- 'objective/kl', 'reward_model/accuracy' ...
    value real not null,
    created_at real not null
);
create index metrics_round on metrics (round_id, attempt, name, step);

create table worker (                         -- one row: the worker's heartbeat
    id integer primary key check (id = 1),
    state text not null check (state in
        ('starting', 'generating', 'reward_model', 'ppo', 'publishing', 'idle', 'paused', 'failed')),
    detail text not null default '',          -- one sentence for people
    error text,                               -- one sentence; kept until the worker does something well
    pid integer,
    seen real not null
);

create table commands (                       -- what people ask of the worker
    id integer primary key,
    name text not null check (name in ('train', 'pause', 'resume', 'stop', 'publish')),
    argument text,                            -- JSON; publish: {"policy_version": 2}
    person_id integer references people (id),
    created_at real not null,
    done_at real,
    outcome text                              -- one sentence
);

create table samples (                        -- text asked for by the lab, or kept from a round: never ranked
    id integer primary key,
    batch text not null,                      -- one before/after comparison, or 'round-3'
    prompt text not null,
    policy_version integer not null,          -- -1: the base model, before SFT; -2: not published
    text text not null default '',            -- grows while it is streamed
    score real,                               -- by the newest reward model, null before there is one
    state text not null check (state in ('waiting', 'running', 'done', 'failed')),
    error text,
    created_at real not null
);
create index samples_batch on samples (batch);
create index samples_waiting on samples (id) where state in ('waiting', 'running');
"""


@migrations()
def m001_first(db: Database) -> None:
    """Create every table of the first release."""
    for statement in SCHEMA.split(";\n"):
        if statement.strip():
            db.execute(statement)


@migrations()
def m002_active_prompts(db: Database) -> None:
    """Prompts of an earlier --prompts stay for their rankings, and are not answered any more."""
    db.execute("alter table prompts add column active integer not null default 1 check (active in (0, 1))")


@migrations()
def m003_remarks(db: Database) -> None:
    """What annotators say beside the order."""
    for column in (
        "partial integer not null default 0 check (partial in (0, 1))",  # the last were not compared
        "acceptable integer check (acceptable in (0, 1))",  # 0: none is, 1: the best is, null: nothing said
        "strength integer not null default 0 check (strength between 0 and 3)",  # of two; 0: nothing said
        "comment text not null default ''",
    ):
        db.execute(f"alter table rankings add column {column}")


@migrations()
def m004_more_than_an_order(db: Database) -> None:
    """Marks on single responses, better responses written by people, guidelines, and several annotators on
    one task."""
    statements = """
    create table guidelines (                     -- what annotators are to do; a change is a new version
        version integer primary key,
        text text not null,                       -- Markdown
        person_id integer references people (id),
        created_at real not null
    );
    create table demonstrations (                 -- a better response, written by a person: it ranks first
        ranking_id integer primary key references rankings (id),  -- withdrawn with it
        prompt_id integer not null references prompts (id),
        started_from integer references responses (id),           -- null: from nothing
        text text not null,
        created_at real not null
    );
    -- JSON: flags, reasons_for, reasons_against, ratings; only what was said
    alter table ranks add column marks text not null default '{}';
    alter table rankings add column skip_reason text not null default '';
    -- the version they were made under, 0: the delivered one
    alter table rankings add column guidelines integer;
    alter table rankings add column withdrawn_for text check (withdrawn_for in ('change', 'good'));
    update rankings set withdrawn_for = 'change' where withdrawn_at is not null;
    -- rankings, each by another person
    alter table tasks add column wanted integer not null default 1;
    -- of one person's, the oldest is on the screen
    alter table tasks add column leased_at real;
    update tasks set leased_at = created_at where leased_by is not null;
    create index tasks_leased on tasks (leased_by, leased_at) where state = 'open';
    drop index one_ranking_per_task;
    create unique index one_ranking_each on rankings (task_id, person_id) where withdrawn_at is null;
    """
    for statement in statements.split(";\n"):
        if statement.strip():
            db.execute(statement)


@migrations()
def m005_many_annotators(db: Database) -> None:
    """What every reply asks takes as long in a file of 100,000 rankings as in a new one.

    Measured there, with 5,000 open tasks: to find the next task, 3 ms when all open ones were sorted for it,
    0.06 now; to count by kind, 7 ms, 0.05 now.
    """
    statements = """
    -- in the order in which they are given out, and when they are free again
    drop index tasks_open;
    create index tasks_open on tasks (policy_version desc, id, leased_until) where state = 'open';
    drop index rankings_counted;
    create index rankings_counted on rankings (person_id, created_at)
        where withdrawn_at is null and kind = 'ranked';
    -- how many of their rankings stand: kept by the triggers below, whoever writes
    alter table people add column ranked integer not null default 0;
    update people set ranked = (
        select count(*) from rankings
        where person_id = people.id and withdrawn_at is null and rankings.kind = 'ranked'
    );
    create trigger ranking_added after insert on rankings
        when new.withdrawn_at is null and new.kind = 'ranked' begin
            update people set ranked = ranked + 1 where id = new.person_id; end;
    create trigger ranking_withdrawn after update of withdrawn_at on rankings
        when (old.withdrawn_at is null) <> (new.withdrawn_at is null) and new.kind = 'ranked' begin
            update people set ranked = ranked + iif(new.withdrawn_at is null, 1, -1)
            where id = new.person_id; end;
    create trigger ranking_deleted after delete on rankings
        when old.withdrawn_at is null and old.kind = 'ranked' begin
            update people set ranked = ranked - 1 where id = old.person_id; end;
    """
    for statement in statements.split(";\n"):
        if statement.strip():
            db.execute(statement)


@migrations()
def m006_other_sources(db: Database) -> None:
    """What did not come from a ranking here: imports, demonstrations and preferences made elsewhere, rankings
    by a judge model; and rounds of another method than PPO."""
    statements = """
    create table imports (                        -- one call of `python app.py import`
        id integer primary key,
        source text not null,                     -- file name or hub id
        format text not null,
        added text not null,                      -- JSON: how many prompts, demonstrations, preferences
        refused text not null,                    -- JSON: why, how many rows, and lines of the first
        created_at real not null
    );
    -- asked here because it was imported as a prompt; null: because of --prompts, the starter, or not at all
    alter table prompts add column import_id integer references imports (id);
    create index prompts_imported on prompts (import_id) where import_id is not null;
    create table imported_rankings (              -- an order over responses that nobody ranked here
        id integer primary key,
        import_id integer not null references imports (id),
        key text not null unique,                 -- hash of prompt, responses and ranks: known rows are known
        prompt_id integer not null references prompts (id),
        responses text not null,                  -- JSON: list of texts
        ranks text not null,                      -- JSON: 1 is best, equal is a tie
        strength integer not null default 0 check (strength between 0 and 3),  -- of two; 0: nothing said
        annotator text not null default ''        -- as the source calls them
    );
    create table demonstrations_now (             -- responses to learn from, whoever wrote them
        id integer primary key,
        source text not null check (source in ('annotator', 'import', 'judge')),
        ranking_id integer unique references rankings (id),  -- annotator: it ranks first, withdrawn with it
        import_id integer references imports (id),
        prompt_id integer not null references prompts (id),
        started_from integer references responses (id),      -- null: from nothing
        text text not null,
        created_at real not null
    );
    insert into demonstrations_now (source, ranking_id, prompt_id, started_from, text, created_at)
        select 'annotator', ranking_id, prompt_id, started_from, text, created_at from demonstrations;
    drop table demonstrations;
    alter table demonstrations_now rename to demonstrations;
    create unique index demonstrations_once on demonstrations (prompt_id, text) where ranking_id is null;

    create table constitutions (                  -- what a judge ranks by; a change is a new version
        version integer primary key,
        text text not null,                       -- Markdown
        person_id integer references people (id),
        created_at real not null
    );
    create table judges (                         -- which people are models that rank by a constitution
        person_id integer primary key references people (id),
        model text not null,
        endpoint text not null default '',        -- '': in this process
        created_at real not null
    );
    create table judgements (                     -- what is known of a judge's ranking beside the order
        ranking_id integer primary key references rankings (id),
        constitution integer not null,            -- version, 0: the delivered one
        calls integer not null,                   -- requests it took, retries too
        prompt_tokens integer not null,
        response_tokens integer not null,
        consistent real,                          -- share of pairs ordered alike after a swap; null: no swap
        seconds real not null
    );

    alter table rounds add column method text not null default 'ppo'
        check (method in ('ppo', 'dpo', 'both', 'sft'));
    create table worker_now (                     -- one row: the worker's heartbeat
        id integer primary key check (id = 1),
        state text not null check (state in ('starting', 'generating', 'reward_model', 'ppo', 'dpo', 'sft',
            'publishing', 'idle', 'paused', 'failed')),
        detail text not null default '',          -- one sentence for people
        error text,                               -- one sentence; kept until the worker does something well
        pid integer,
        seen real not null
    );
    insert into worker_now select * from worker;
    drop table worker;
    alter table worker_now rename to worker;
    create table commands_now (                   -- what people ask of the worker
        id integer primary key,
        name text not null check (name in ('train', 'pause', 'resume', 'stop', 'publish', 'sft')),
        argument text,                            -- JSON; publish: {"policy_version": 2}
        person_id integer references people (id),
        created_at real not null,
        done_at real,
        outcome text                              -- one sentence
    );
    insert into commands_now select * from commands;
    drop table commands;
    alter table commands_now rename to commands;
    """
    for statement in statements.split(";\n"):
        if statement.strip():
            db.execute(statement)
