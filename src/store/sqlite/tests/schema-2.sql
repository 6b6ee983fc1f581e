-- A store as the program with schema version 2 wrote it, rows and checksums included. Never edited: later versions have
-- to open it. Build 1 was removed by retention; build 2 has a job for each way to end, one of which lost its first
-- runner; build 3 has no jobs; build 4 is unfinished, with a job that runs (attempt 10), one that is queued after a
-- failure, and one that waits.
PRAGMA application_id = 1397904972;
PRAGMA user_version = 2;
BEGIN TRANSACTION;
CREATE TABLE attempts (
    id INTEGER PRIMARY KEY, job INTEGER NOT NULL, number INTEGER NOT NULL, runner INTEGER NOT NULL,
    reason ANY NOT NULL, leased_at INTEGER NOT NULL, previous INTEGER, seal INTEGER NOT NULL
) STRICT;
INSERT INTO "attempts" VALUES(2,2,1,2,2,1700000001002,NULL,1732825459);
INSERT INTO "attempts" VALUES(3,3,1,2,2,1700000001003,NULL,2064419683);
INSERT INTO "attempts" VALUES(4,4,1,2,2,1700000001004,NULL,785452307);
INSERT INTO "attempts" VALUES(5,5,1,2,2,1700000001005,NULL,848647939);
INSERT INTO "attempts" VALUES(6,6,1,2,2,1700000001006,NULL,374978867);
INSERT INTO "attempts" VALUES(7,7,1,2,2,1700000001007,NULL,169730851);
INSERT INTO "attempts" VALUES(8,8,1,1,1,1700000001008,NULL,2732939260);
INSERT INTO "attempts" VALUES(9,8,2,2,1,1700000001009,8,3002739092);
INSERT INTO "attempts" VALUES(10,10,1,1,1,1700000001010,NULL,210842707);
INSERT INTO "attempts" VALUES(11,11,1,2,1,1700000001011,NULL,897209959);
CREATE TABLE builds (
    id INTEGER PRIMARY KEY, repo INTEGER NOT NULL, branch TEXT NOT NULL, commit_id BLOB NOT NULL, before BLOB NOT NULL,
    first_job INTEGER NOT NULL, last_job INTEGER NOT NULL, created_at INTEGER NOT NULL, finished_at INTEGER,
    verdict INTEGER, problem TEXT, subject TEXT NOT NULL, author TEXT NOT NULL, seal INTEGER NOT NULL,
    end_seal INTEGER NOT NULL
) STRICT;
INSERT INTO "builds" VALUES(2,1,'main',X'3C6EF372FE94F82A000000000000000000000002',X'9E3779B97F4A7C15000000000000000000000001',2,9,1700000000002,1700000003002,1,NULL,'change number 2','Ada <ada@example.org>',3560941239,1125226328);
INSERT INTO "builds" VALUES(3,1,'broken',X'DAA66D2C7DDF743F000000000000000000000003',X'3C6EF372FE94F82A000000000000000000000002',1,0,1700000000003,1700000000003,2,'the task file cannot be read','change number 3','Ada <ada@example.org>',411395335,405514639);
INSERT INTO "builds" VALUES(4,1,'main',X'78DDE6E5FD29F054000000000000000000000004',X'DAA66D2C7DDF743F000000000000000000000003',10,12,1700000000004,NULL,NULL,NULL,'change number 4','Ada <ada@example.org>',287280859,11659826);
CREATE TABLE decisions (
    id INTEGER PRIMARY KEY, at INTEGER NOT NULL, build INTEGER NOT NULL, job INTEGER, attempt INTEGER, runner INTEGER,
    text TEXT NOT NULL
) STRICT;
INSERT INTO "decisions" VALUES(1,1700000004000,2,8,8,1,'lost: runner w1 was silent for 20 s; queued again');
CREATE TABLE forgotten (build INTEGER PRIMARY KEY, rule INTEGER NOT NULL, at INTEGER NOT NULL) STRICT;
INSERT INTO "forgotten" VALUES(1,0,1700000009000);
CREATE TABLE heads (
    repo INTEGER NOT NULL, branch TEXT NOT NULL, head BLOB NOT NULL, seal INTEGER NOT NULL,
    PRIMARY KEY (repo, branch)
) STRICT, WITHOUT ROWID;
INSERT INTO "heads" VALUES(1,'broken',X'DAA66D2C7DDF743F000000000000000000000003',2311570341);
INSERT INTO "heads" VALUES(1,'main',X'78DDE6E5FD29F054000000000000000000000004',317627795);
CREATE TABLE jobs (
    id INTEGER PRIMARY KEY, build INTEGER NOT NULL, spec INTEGER NOT NULL, state INTEGER NOT NULL,
    attempt INTEGER NOT NULL, attempts INTEGER NOT NULL, failures INTEGER NOT NULL, losses INTEGER NOT NULL,
    detail TEXT, seal INTEGER NOT NULL
) STRICT;
INSERT INTO "jobs" VALUES(2,2,2,3,2,1,0,0,NULL,1642015874);
INSERT INTO "jobs" VALUES(3,2,3,4,3,1,0,0,NULL,2132805670);
INSERT INTO "jobs" VALUES(4,2,4,4,4,1,0,0,NULL,2521565059);
INSERT INTO "jobs" VALUES(5,2,5,4,5,1,0,0,NULL,2910324448);
INSERT INTO "jobs" VALUES(6,2,6,6,6,1,0,0,NULL,3503144651);
INSERT INTO "jobs" VALUES(7,2,7,5,7,1,0,0,'it could not be started: no such program',38694034);
INSERT INTO "jobs" VALUES(8,2,8,3,9,2,0,1,NULL,82453781);
INSERT INTO "jobs" VALUES(9,2,9,7,0,0,0,0,'task3 failed',2884984750);
INSERT INTO "jobs" VALUES(10,4,1,2,10,1,0,0,NULL,3565251702);
INSERT INTO "jobs" VALUES(11,4,10,1,11,1,1,0,NULL,1024657675);
INSERT INTO "jobs" VALUES(12,4,11,0,0,0,0,0,NULL,2783981073);
CREATE TABLE late_results (
    id INTEGER PRIMARY KEY, attempt INTEGER NOT NULL, outcome INTEGER NOT NULL, code INTEGER, detail TEXT,
    at INTEGER NOT NULL
) STRICT;
INSERT INTO "late_results" VALUES(1,8,2,15,NULL,1700000005000);
CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
INSERT INTO "meta" VALUES('attempts',11);
INSERT INTO "meta" VALUES('builds',4);
INSERT INTO "meta" VALUES('jobs',12);
INSERT INTO "meta" VALUES('runners',2);
CREATE TABLE outcomes (
    attempt INTEGER PRIMARY KEY, outcome INTEGER NOT NULL, code INTEGER, detail TEXT, finished_at INTEGER NOT NULL,
    duration_ms INTEGER, log_bytes INTEGER NOT NULL, log_crc32 INTEGER NOT NULL, log_missing TEXT,
    seal INTEGER NOT NULL
) STRICT;
INSERT INTO "outcomes" VALUES(2,0,NULL,NULL,1700000002002,1500,1002,4276944898,NULL,637077481);
INSERT INTO "outcomes" VALUES(3,1,3,NULL,1700000002003,1500,1003,4276944899,NULL,1067643887);
INSERT INTO "outcomes" VALUES(4,2,9,NULL,1700000002004,1500,1004,4276944900,NULL,2088880269);
INSERT INTO "outcomes" VALUES(5,3,NULL,NULL,1700000002005,1500,1005,4276944901,NULL,613905513);
INSERT INTO "outcomes" VALUES(6,4,NULL,NULL,1700000002006,1500,1006,4276944902,NULL,3408478854);
INSERT INTO "outcomes" VALUES(7,5,NULL,'no such program',1700000002007,1500,1007,4276944903,NULL,2154176252);
INSERT INTO "outcomes" VALUES(8,6,NULL,'runner w1 was silent for 20 s',1700000002008,NULL,1008,4276944904,'the runner was lost',3910618688);
INSERT INTO "outcomes" VALUES(9,0,NULL,NULL,1700000002009,1500,1009,4276944905,NULL,1059257261);
INSERT INTO "outcomes" VALUES(11,1,1,NULL,1700000002011,1500,1011,4276944907,NULL,3247134946);
CREATE TABLE ranges (build INTEGER PRIMARY KEY, commits BLOB NOT NULL) STRICT;
INSERT INTO "ranges" VALUES(2,X'140A1A7FE8B7AD705E000000000000000000000066143C6EF372FE94F82A000000000000000000000002');
INSERT INTO "ranges" VALUES(3,X'14A851F9A236F7EC7300000000000000000000006714DAA66D2C7DDF743F000000000000000000000003');
INSERT INTO "ranges" VALUES(4,X'144689735BB64268880000000000000000000000681478DDE6E5FD29F054000000000000000000000004');
CREATE TABLE reasons (id INTEGER PRIMARY KEY, body TEXT NOT NULL UNIQUE) STRICT;
INSERT INTO "reasons" VALUES(1,'the first free runner');
INSERT INTO "reasons" VALUES(2,'the commit is warm there');
CREATE TABLE repos (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, source TEXT) STRICT;
INSERT INTO "repos" VALUES(1,'app','/srv/app');
CREATE TABLE runners (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, first_seen INTEGER NOT NULL,
    seal INTEGER NOT NULL
) STRICT;
INSERT INTO "runners" VALUES(1,'w1',1700000000000,268993281);
INSERT INTO "runners" VALUES(2,'w2',1700000000000,3687993916);
CREATE TABLE specs (id INTEGER PRIMARY KEY, body TEXT NOT NULL UNIQUE, seal INTEGER NOT NULL) STRICT;
INSERT INTO "specs" VALUES(1,'{"name":"lint","script":{"shell":"make"},"timeout_ms":3600000,"retries":0,"allow_failure":false,"exclusive":false}',368762022);
INSERT INTO "specs" VALUES(2,'{"name":"task2","script":{"shell":"make"},"timeout_ms":3600000,"retries":0,"allow_failure":false,"exclusive":false}',4096050066);
INSERT INTO "specs" VALUES(3,'{"name":"task3","script":{"shell":"make"},"timeout_ms":3600000,"retries":0,"allow_failure":false,"exclusive":false}',1120675295);
INSERT INTO "specs" VALUES(4,'{"name":"task4","script":{"shell":"make"},"timeout_ms":3600000,"retries":0,"allow_failure":false,"exclusive":false}',4105476798);
INSERT INTO "specs" VALUES(5,'{"name":"task5","script":{"shell":"make"},"timeout_ms":3600000,"retries":0,"allow_failure":false,"exclusive":false}',1113357555);
INSERT INTO "specs" VALUES(6,'{"name":"task6","script":{"shell":"make"},"timeout_ms":3600000,"retries":0,"allow_failure":false,"exclusive":false}',1108627557);
INSERT INTO "specs" VALUES(7,'{"name":"task7","script":{"shell":"make"},"timeout_ms":3600000,"retries":0,"allow_failure":false,"exclusive":false}',4110202408);
INSERT INTO "specs" VALUES(8,'{"name":"task8","script":{"shell":"make"},"timeout_ms":3600000,"retries":0,"allow_failure":false,"exclusive":false}',4120127718);
INSERT INTO "specs" VALUES(9,'{"name":"task9","script":{"shell":"make"},"timeout_ms":3600000,"retries":0,"allow_failure":false,"exclusive":false}',1132252843);
INSERT INTO "specs" VALUES(10,'{"name":"test","script":{"shell":"make"},"timeout_ms":3600000,"retries":0,"allow_failure":false,"exclusive":false}',1731496386);
INSERT INTO "specs" VALUES(11,'{"name":"deploy","script":{"program":["./deploy","now"]},"needs":["lint"],"env":[["MODE","fast"]],"timeout_ms":60000,"retries":2,"allow_failure":true,"labels":["gpu"],"keep":["target"],"exclusive":true}',1829311162);
CREATE UNIQUE INDEX builds_by_commit ON builds (commit_id, repo, branch, before);
CREATE INDEX builds_by_repo ON builds (repo);
CREATE INDEX builds_unfinished ON builds (repo) WHERE verdict IS NULL;
CREATE INDEX late_results_by_attempt ON late_results (attempt);
CREATE INDEX decisions_by_build ON decisions (build);
COMMIT;
