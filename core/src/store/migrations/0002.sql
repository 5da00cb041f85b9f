-- log.db, schema 2: entries beside the tree of their keys. SQLite compares a key of a table WITHOUT ROWID with whole rows, so that each
-- new entry read several old ones, up to a mebibyte each.
ALTER TABLE entries RENAME TO entries_1;

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
) STRICT;

INSERT INTO entries SELECT author, branch, seq, hash, epoch, head, sections, signature FROM entries_1 ORDER BY author, branch, seq;

DROP TABLE entries_1;
