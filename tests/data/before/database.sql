BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0005');
CREATE TABLE answers (
	"key" VARCHAR(16) NOT NULL, 
	at DATETIME NOT NULL, 
	person VARCHAR(64), 
	file TEXT NOT NULL, 
	model VARCHAR(63) NOT NULL, 
	revision VARCHAR(12) NOT NULL, 
	answer TEXT NOT NULL, 
	verdict VARCHAR(8) NOT NULL, 
	scores JSON NOT NULL, 
	judged BOOLEAN NOT NULL, 
	PRIMARY KEY ("key")
);
INSERT INTO "answers" VALUES('key1','2026-11-26 17:57:50.802988','person','file-1','shapes','ad691047b871','red square','known','{"red square": 0.9, "green bar": 0.06, "blue sky": 0.04}',1);
CREATE TABLE audit (
	id INTEGER NOT NULL, 
	at DATETIME NOT NULL, 
	operator VARCHAR(64) NOT NULL, 
	act TEXT NOT NULL, 
	outcome TEXT NOT NULL, doing BIGINT, 
	PRIMARY KEY (id)
);
INSERT INTO "audit" VALUES(1,'2026-11-26 17:57:50.813781','operator','promote shapes','shapes is live',NULL);
INSERT INTO "audit" VALUES(2,'2026-11-26 17:57:50.814691','operator','pull v1','begun',7);
CREATE TABLE chats (
	chat BIGINT NOT NULL, 
	model VARCHAR(63), 
	language VARCHAR(2), 
	keep_photos BOOLEAN NOT NULL, 
	PRIMARY KEY (chat)
);
INSERT INTO "chats" VALUES(1,'shapes','nl',1);
CREATE TABLE feedback (
	id INTEGER NOT NULL, 
	at DATETIME NOT NULL, 
	front VARCHAR(16) NOT NULL, 
	person VARCHAR(64), 
	model VARCHAR(63) NOT NULL, 
	revision VARCHAR(12) NOT NULL, 
	answer TEXT NOT NULL, 
	verdict VARCHAR(8) NOT NULL, 
	scores JSON NOT NULL, 
	truth TEXT NOT NULL, 
	photo BLOB, 
	PRIMARY KEY (id)
);
INSERT INTO "feedback" VALUES(1,'2026-11-26 17:57:50.806370','bot','person','shapes','ad691047b871','red square','known','{"red square": 0.9, "green bar": 0.06, "blue sky": 0.04}','red square',NULL);
INSERT INTO "feedback" VALUES(2,'2026-11-26 17:57:50.808841','page',NULL,'shapes','ad691047b871','blue sky','unsure','{"red square": 0.9, "green bar": 0.06, "blue sky": 0.04}','none',X'FFD86A706567');
CREATE TABLE inbox (
	bot BIGINT NOT NULL, 
	update_id BIGINT NOT NULL, 
	chat BIGINT, 
	at DATETIME NOT NULL, 
	payload TEXT, 
	done_at DATETIME, 
	PRIMARY KEY (bot, update_id)
);
INSERT INTO "inbox" VALUES(7,1,NULL,'2026-11-26 17:57:50.809512',NULL,'2026-11-26 17:57:50.811585');
INSERT INTO "inbox" VALUES(7,2,1,'2026-11-26 17:57:50.809512','{"update_id": 2}',NULL);
CREATE TABLE live (
	model VARCHAR(63) NOT NULL, 
	revision VARCHAR(12) NOT NULL, 
	last_good VARCHAR(12), 
	changed_at DATETIME NOT NULL, 
	PRIMARY KEY (model)
);
INSERT INTO "live" VALUES('shapes','ad691047b871','bundled','2026-11-26 17:57:50.131065');
CREATE TABLE origins (
	revision VARCHAR(12) NOT NULL, 
	repo TEXT NOT NULL, 
	sha VARCHAR(40) NOT NULL, 
	PRIMARY KEY (revision)
);
INSERT INTO "origins" VALUES('ad691047b871','owner/models','b4fdd761399aa17102cf41b63355b011caa68186');
CREATE TABLE switches (
	name VARCHAR(32) NOT NULL, 
	"on" BOOLEAN NOT NULL, 
	PRIMARY KEY (name)
);
INSERT INTO "switches" VALUES('maintenance',1);
CREATE INDEX ix_feedback_person ON feedback (person);
CREATE INDEX ix_feedback_at ON feedback (at);
CREATE INDEX ix_inbox_chat ON inbox (chat);
CREATE INDEX ix_inbox_done_at ON inbox (done_at);
CREATE INDEX ix_answers_at ON answers (at);
CREATE INDEX ix_answers_person ON answers (person);
CREATE INDEX ix_audit_at ON audit (at);
COMMIT;
