-- Before version 6 all acted as the gateway.
INSERT OR IGNORE INTO bucket_right SELECT name, '', seen_at FROM bucket WHERE through <> 'refuted';
