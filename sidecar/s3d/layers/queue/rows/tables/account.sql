-- What the queue takes of the disk (SEMANTICS Q-7), kept by triggers, so that no count ever walks the rows: each row with
-- what it weighs in its table and its indexes, headers and small bodies included, and each body's file in whole blocks.
-- Every state counts, also a change that is only kept. One row.
CREATE TABLE account (
    one   INTEGER PRIMARY KEY CHECK (one = 1),
    bytes INTEGER NOT NULL
);
INSERT INTO account VALUES (1, 0);

CREATE TRIGGER account_change_in AFTER INSERT ON change BEGIN
    UPDATE account SET bytes = bytes + 640 + length(CAST(NEW.bucket AS BLOB)) + length(CAST(NEW.key AS BLOB)) + length(CAST(NEW.members AS BLOB))
        + length(CAST(NEW.late_writes AS BLOB)) + length(CAST(NEW.removes AS BLOB)) + coalesce(length(CAST(NEW.inline AS BLOB)), 0)
        + iif(NEW.file IS NULL, 0, (min(max(CAST(NEW.size AS INTEGER), 0), 1 << 43) + 4095) / 4096 * 4096);
END;
CREATE TRIGGER account_change_out AFTER DELETE ON change BEGIN
    UPDATE account SET bytes = bytes - (640 + length(CAST(OLD.bucket AS BLOB)) + length(CAST(OLD.key AS BLOB)) + length(CAST(OLD.members AS BLOB))
        + length(CAST(OLD.late_writes AS BLOB)) + length(CAST(OLD.removes AS BLOB)) + coalesce(length(CAST(OLD.inline AS BLOB)), 0)
        + iif(OLD.file IS NULL, 0, (min(max(CAST(OLD.size AS INTEGER), 0), 1 << 43) + 4095) / 4096 * 4096));
END;
CREATE TRIGGER account_change_new AFTER UPDATE OF members, late_writes, removes, file, inline, size ON change BEGIN
    UPDATE account SET bytes = bytes + 640 + length(CAST(NEW.bucket AS BLOB)) + length(CAST(NEW.key AS BLOB)) + length(CAST(NEW.members AS BLOB))
        + length(CAST(NEW.late_writes AS BLOB)) + length(CAST(NEW.removes AS BLOB)) + coalesce(length(CAST(NEW.inline AS BLOB)), 0)
        + iif(NEW.file IS NULL, 0, (min(max(CAST(NEW.size AS INTEGER), 0), 1 << 43) + 4095) / 4096 * 4096)
        - (640 + length(CAST(OLD.bucket AS BLOB)) + length(CAST(OLD.key AS BLOB)) + length(CAST(OLD.members AS BLOB))
        + length(CAST(OLD.late_writes AS BLOB)) + length(CAST(OLD.removes AS BLOB)) + coalesce(length(CAST(OLD.inline AS BLOB)), 0)
        + iif(OLD.file IS NULL, 0, (min(max(CAST(OLD.size AS INTEGER), 0), 1 << 43) + 4095) / 4096 * 4096));
END;

CREATE TRIGGER account_part_in AFTER INSERT ON part BEGIN
    UPDATE account SET bytes = bytes + 320 + length(CAST(NEW.sums AS BLOB)) + coalesce(length(CAST(NEW.inline AS BLOB)), 0)
        + iif(NEW.file IS NULL, 0, (min(max(CAST(NEW.size AS INTEGER), 0), 1 << 43) + 4095) / 4096 * 4096);
END;
CREATE TRIGGER account_part_out AFTER DELETE ON part BEGIN
    UPDATE account SET bytes = bytes - (320 + length(CAST(OLD.sums AS BLOB)) + coalesce(length(CAST(OLD.inline AS BLOB)), 0)
        + iif(OLD.file IS NULL, 0, (min(max(CAST(OLD.size AS INTEGER), 0), 1 << 43) + 4095) / 4096 * 4096));
END;
CREATE TRIGGER account_part_new AFTER UPDATE OF sums, file, inline, size ON part BEGIN
    UPDATE account SET bytes = bytes + 320 + length(CAST(NEW.sums AS BLOB)) + coalesce(length(CAST(NEW.inline AS BLOB)), 0)
        + iif(NEW.file IS NULL, 0, (min(max(CAST(NEW.size AS INTEGER), 0), 1 << 43) + 4095) / 4096 * 4096)
        - (320 + length(CAST(OLD.sums AS BLOB)) + coalesce(length(CAST(OLD.inline AS BLOB)), 0)
        + iif(OLD.file IS NULL, 0, (min(max(CAST(OLD.size AS INTEGER), 0), 1 << 43) + 4095) / 4096 * 4096));
END;

CREATE TRIGGER account_upload_in AFTER INSERT ON upload BEGIN
    UPDATE account SET bytes = bytes + 640 + length(CAST(NEW.bucket AS BLOB)) + length(CAST(NEW.key AS BLOB)) + length(CAST(NEW.members AS BLOB))
        + length(CAST(NEW.answer AS BLOB));
END;
CREATE TRIGGER account_upload_out AFTER DELETE ON upload BEGIN
    UPDATE account SET bytes = bytes - (640 + length(CAST(OLD.bucket AS BLOB)) + length(CAST(OLD.key AS BLOB)) + length(CAST(OLD.members AS BLOB))
        + length(CAST(OLD.answer AS BLOB)));
END;
CREATE TRIGGER account_upload_new AFTER UPDATE OF members, answer ON upload BEGIN
    UPDATE account SET bytes = bytes + 640 + length(CAST(NEW.bucket AS BLOB)) + length(CAST(NEW.key AS BLOB)) + length(CAST(NEW.members AS BLOB))
        + length(CAST(NEW.answer AS BLOB))
        - (640 + length(CAST(OLD.bucket AS BLOB)) + length(CAST(OLD.key AS BLOB)) + length(CAST(OLD.members AS BLOB))
        + length(CAST(OLD.answer AS BLOB)));
END;

-- The same by walking all rows: after a migration, and where rows were damaged.
CREATE VIEW account_anew AS SELECT CAST(total(bytes) AS INTEGER) AS bytes FROM (
    SELECT 640 + length(CAST(bucket AS BLOB)) + length(CAST(key AS BLOB)) + length(CAST(members AS BLOB))
        + length(CAST(late_writes AS BLOB)) + length(CAST(removes AS BLOB)) + coalesce(length(CAST(inline AS BLOB)), 0)
        + iif(file IS NULL, 0, (min(max(CAST(size AS INTEGER), 0), 1 << 43) + 4095) / 4096 * 4096) AS bytes FROM change
    UNION ALL SELECT 320 + length(CAST(sums AS BLOB)) + coalesce(length(CAST(inline AS BLOB)), 0)
        + iif(file IS NULL, 0, (min(max(CAST(size AS INTEGER), 0), 1 << 43) + 4095) / 4096 * 4096) FROM part
    UNION ALL SELECT 640 + length(CAST(bucket AS BLOB)) + length(CAST(key AS BLOB)) + length(CAST(members AS BLOB))
        + length(CAST(answer AS BLOB)) FROM upload
);
