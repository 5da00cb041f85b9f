-- log.db, schema 1. Names and bytes as in docs/formats.md, section 6.
CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;

CREATE TABLE identities (
    id            INTEGER PRIMARY KEY,
    identity      BLOB NOT NULL UNIQUE,
    quota_bytes   INTEGER,               -- null: no limit
    quota_entries INTEGER,
    used_bytes    INTEGER NOT NULL DEFAULT 0,
    used_entries  INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE commits (
    identity INTEGER NOT NULL REFERENCES identities,
    idx      INTEGER NOT NULL,
    hash     BLOB NOT NULL,
    bytes    BLOB NOT NULL,
    PRIMARY KEY (identity, idx)
) STRICT, WITHOUT ROWID;

CREATE TABLE operations (
    identity     INTEGER NOT NULL REFERENCES identities,
    id           BLOB NOT NULL,
    bytes        BLOB NOT NULL,
    commit_index INTEGER,                -- null: pending
    proposer     BLOB NOT NULL,
    PRIMARY KEY (identity, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE streams (id INTEGER PRIMARY KEY, stream BLOB NOT NULL UNIQUE) STRICT;
CREATE TABLE epochs (id INTEGER PRIMARY KEY, epoch BLOB NOT NULL UNIQUE) STRICT;

CREATE TABLE authors (
    id       INTEGER PRIMARY KEY,
    author   BLOB NOT NULL UNIQUE,
    identity INTEGER NOT NULL REFERENCES identities,
    stream   INTEGER NOT NULL REFERENCES streams,
    device   BLOB NOT NULL,
    start    BLOB NOT NULL,
    own      INTEGER NOT NULL DEFAULT 0  -- 1: this device goes on writing here
) STRICT;
CREATE INDEX authors_of_identity ON authors (identity);
CREATE INDEX own_authors ON authors (stream) WHERE own = 1;

CREATE TABLE branches (
    author INTEGER NOT NULL REFERENCES authors,
    branch INTEGER NOT NULL,
    base   INTEGER NOT NULL,             -- seq at which it left branch 0
    seq    INTEGER NOT NULL,             -- its head
    hash   BLOB NOT NULL,
    PRIMARY KEY (author, branch)
) STRICT, WITHOUT ROWID;

CREATE TABLE entries (
    author    INTEGER NOT NULL,
    branch    INTEGER NOT NULL,
    seq       INTEGER NOT NULL,
    hash      BLOB NOT NULL,
    epoch     INTEGER NOT NULL,
    head      BLOB,
    sections  BLOB NOT NULL,
    signature BLOB NOT NULL,
    PRIMARY KEY (author, branch, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE receipts (
    author INTEGER NOT NULL REFERENCES authors,
    branch INTEGER NOT NULL,
    peer   BLOB NOT NULL,
    store  BLOB NOT NULL,
    seq    INTEGER NOT NULL,
    hash   BLOB NOT NULL,
    time   INTEGER NOT NULL,
    bytes  BLOB NOT NULL,
    PRIMARY KEY (author, branch, peer)
) STRICT, WITHOUT ROWID;

CREATE TABLE alarms (
    id      INTEGER PRIMARY KEY,
    kind    TEXT NOT NULL,
    subject BLOB NOT NULL,
    time    INTEGER NOT NULL,
    UNIQUE (kind, subject)
) STRICT;
