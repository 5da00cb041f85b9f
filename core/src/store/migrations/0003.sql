-- log.db, schema 3: attachments. Their chunks lie in blobs/, beside the database.

CREATE TABLE attachments (
    id         INTEGER PRIMARY KEY,
    identity   INTEGER NOT NULL REFERENCES identities,
    attachment BLOB NOT NULL,
    size       INTEGER NOT NULL,           -- bytes of all boxes; 0: its manifest is not here
    here       INTEGER NOT NULL,           -- bytes of the boxes that are here
    charged    INTEGER NOT NULL,           -- what of used_bytes is its own
    used       INTEGER NOT NULL,           -- when it was last added to or read
    pinned     INTEGER NOT NULL DEFAULT 0,
    loose      INTEGER,                    -- since when no document refers to it
    chunks     BLOB NOT NULL,              -- a bit for each that is here
    manifest   BLOB NOT NULL,
    UNIQUE (identity, attachment)
) STRICT;

CREATE TABLE attachment_receipts (
    attachment INTEGER NOT NULL REFERENCES attachments,
    peer       BLOB NOT NULL,
    store      BLOB NOT NULL,
    bytes      BLOB NOT NULL,
    PRIMARY KEY (attachment, peer)
) STRICT, WITHOUT ROWID;
