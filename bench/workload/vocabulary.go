package workload

import "lsmdb/bench/engine"

// Groups of what not every engine can do.
const (
	Transacted = "transactions"
	Ranges     = "ranges and copies"
	Packed     = "compression"
)

// vocabularySections are those of what not every engine can do.
func vocabularySections() []Section {
	return []Section{
		transactionSection(),
		single("batch-100-sorted", "every entry once, in key order, in batches of 100", 1, false, func(r *Run) error { return r.batches(inOrder) }),
		{Name: "load-sorted", Group: Writes, Needs: engine.Loads, Acts: []Act{{Clients: 1, Steps: []Step{
			{Name: "load-sorted", About: "every entry once, in key order, past the log", Settle: true, Synced: true, Do: loadSorted},
			{Name: "verify", Do: verifyAll},
		}}}},
		rangeSection(),
		{Name: "expiry", Group: Ranges, Needs: engine.Expiry, Acts: []Act{{Clients: 1, Small: true, Steps: []Step{
			{Name: "expiry", About: "a day of metrics in time order that end after an hour of 1 s, batches of 100", Notes: expiryNotes, Do: expire},
		}}}},
		{Name: "checkpoint", Group: Ranges, Needs: engine.Checkpoints, Acts: []Act{{Clients: 2, Steps: []Step{
			prepare, waitSettled,
			{Name: "checkpoint", About: "a copy while one writer overwrites 200,000 entries a second", Timed: true, Notes: []string{LongestPut}, Do: copyFiles},
			{Name: "open the copy", Do: openCopy},
			{Name: "verify", Do: verifyAll},
			{Name: "remove the copy", Do: removeCopy},
		}}}},
		compressionSection("snappy", false),
		compressionSection("zstd", true),
	}
}

func transactionSection() Section {
	const clients = 8
	one := Act{Clients: 1, Conflicts: true, Steps: []Step{
		prepare, waitSettled, warm,
		{Name: "tx-get", About: "random gets, 1 client", Do: readRandom(1, 1)},
		{Name: "tx-view", About: "the same, each in a read-only transaction", Do: viewRandom},
		{Name: "tx-get-put", About: "get and put of a random entry, without a transaction, 1 client", Do: flipPlainly(1)},
		{Name: "count", Do: countFlips},
		{Name: "tx-update", About: "the same in a transaction, 1 client", Do: flipInTransactions(1, 0)},
		{Name: "check", Do: checkFlips},
	}}
	many := Act{Clients: clients, Conflicts: true, Steps: []Step{
		warm,
		{Name: "tx-get-put-8", About: "get and put of a random entry, without a transaction, 8 clients", Do: flipPlainly(clients)},
		{Name: "count", Do: countFlips},
		{Name: "tx-update-8", About: "the same in a transaction, 8 clients", Do: flipInTransactions(clients, 0)},
		{Name: "tx-contended-8", About: "the same among 16 entries, so that most conflict, 8 clients", Do: flipInTransactions(clients, 16)},
		{Name: "check", Do: checkFlips},
	}}
	return Section{Name: "transactions", Group: Transacted, Needs: engine.Transactions, Acts: []Act{one, many}}
}

func rangeSection() Section {
	return Section{Name: "delete-range", Group: Ranges, Needs: engine.RangeDeletes, Acts: []Act{{Clients: 1, Steps: []Step{
		prepare, waitSettled,
		{Name: "delete-range", About: "the middle third of all entries by one write", Timed: true, Do: deleteMiddle},
		{Name: "seek-deleted", About: "right after that: seek a deleted key, which leads to the first one behind", Do: seekDeleted},
		{Name: "scan-deleted", About: "everything that is left, in order", Do: scanLeft},
		waitSettled,
		{Name: "space-back", About: "delete the last third and flush, until the tables take three quarters of the disk", Timed: true, Do: spaceBack},
	}}}}
}

// compressionSection fills and reads values that are text, with a cache that holds little.
func compressionSection(name string, zstd bool) Section {
	return Section{Name: name, Group: Packed, Text: true, Needs: engine.Zstd, Acts: []Act{
		{Clients: 1, Zstd: zstd, Steps: []Step{
			{Name: "fill-" + name, About: "fillrandom, values are text", Settle: true, Do: fill(1, random, 0)},
		}},
		{Clients: 1, Zstd: zstd, Cold: true, Steps: []Step{
			prepare, waitSettled,
			{Name: "read-" + name, About: "random gets of it with a small cache, files in the page cache", Do: readRandom(1, 1)},
		}},
	}}
}
