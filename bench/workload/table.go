package workload

import (
	"slices"
	"strings"

	"lsmdb/bench/engine"
)

// Step is one thing done to an open database.
type Step struct {
	Name   string
	About  string // one line for the list of workloads; empty: a preparation, not reported
	Timed  bool   // what counts is how long it takes: shown as milliseconds
	Settle bool   // afterwards wait for background work, and count what it writes
	// PerCount: repeated for each of Scale.ClientCounts.
	PerCount bool
	// Pipelined: the call does not wait for the acknowledgement.
	Pipelined bool
	// Paced: operations are due at fixed times.
	Paced bool
	// Synced: it ends with an fsync, whatever the act says.
	Synced bool
	// Tenths: the rates of its first and its last tenth are reported too.
	Tenths bool
	Notes  []string // figures of Result.Extra that are reported too
	Do     func(*Run) error
}

// Act is a process: it opens the directory, runs steps and ends.
type Act struct {
	Sync    bool
	Queued  bool // writes may be lost with the process
	Clients int  // that write at the same time
	Closed  bool // the first step opens the database itself
	Crash   bool // ends without closing
	Cold    bool // uses the small cache
	Small   bool // has a small memtable
	// Conflicts: has transactions.
	Conflicts bool
	Zstd      bool // instead of Snappy
	// Databases: so many are open, or fewer in small runs; 0: one.
	Databases int
	// MemoryLimit is the GOMEMLIMIT of the process; empty: none.
	MemoryLimit string
	Steps       []Step
}

// Section starts with an empty directory; its acts follow each other on it.
type Section struct {
	Name       string
	Group      string         // of workloads that are drawn together
	Axis       Axis           // of growth; empty: not part of it
	ValueBytes int            // 0: as the scale says
	Big        bool           // uses ColdEntries
	MaxEntries int64          // at most so many; 0: no bound
	Shared     bool           // one database serves every number of clients, see Scales
	FullOnly   bool           // not part of quick, unless asked for by name
	Needs      engine.Ability // engines without it are left out
	Text       bool           // values are text, see NewDataset
	Acts       []Act
}

var (
	prepare     = Step{Name: "load", Do: load}
	waitSettled = Step{Name: "settle", Do: settleStep}
	warm        = Step{Name: "warm", Do: scanForward}
)

// walEntries keeps the log that is recovered within one memtable of every engine.
const walEntries = 350_000

// Groups of workloads, of which each has its own pictures.
const (
	Writes = "writes"
	Synced = "synced writes"
	Reads  = "reads"
	Mixed  = "mixed"
	Opens  = "opening"
)

func single(name, about string, clients int, sync bool, do func(*Run) error) Section {
	group := Writes
	if sync {
		group = Synced
	}
	return Section{Name: name, Group: group, Acts: []Act{{Sync: sync, Clients: clients, Steps: []Step{
		{Name: name, About: about, Settle: !sync, Do: do},
	}}}}
}

// queued is a fill by writes that a killed process may lose, where an engine has a choice:
// lsmdb's Queued. Pebble's NoSync is never more; the other engines have no such level.
func queued(name string, do func(*Run) error, clients int) Section {
	about := strings.TrimSuffix(name, "-queued") + ", and a killed process may lose the newest writes: lsmdb's Queued"
	return Section{Name: name, Group: Writes, Acts: []Act{{Queued: true, Clients: clients, Steps: []Step{
		{Name: name, About: about, Settle: true, Do: do},
	}}}}
}

// Sections returns everything that is compared, in the order of the report.
func Sections() []Section {
	return slices.Concat(basicSections(), unsettledSections(), vocabularySections(), []Section{rateSection(), oneEachSection(), busySection()})
}

// basicSections are those of what every engine can do.
func basicSections() []Section {
	return []Section{
		single("fillseq", "every entry once, in key order", 1, false, fill(1, inOrder, 0)),
		{Name: "fillrandom", Group: Writes, Acts: []Act{{Clients: 1, Steps: []Step{
			{Name: "fillrandom", About: "every entry once, in random order", Settle: true, Do: fill(1, random, 0)},
			{Name: "overwrite", About: "every entry again, in another random order", Settle: true, Do: fill(1, reRandom, 1)},
		}}}},
		single("fillrandom-8", "fillrandom by 8 clients", 8, false, fill(8, random, 0)),
		queued("fillseq-queued", fill(1, inOrder, 0), 1),
		queued("fillrandom-queued", fill(1, random, 0), 1),
		queued("fillrandom-8-queued", fill(8, random, 0), 8),
		single("batch-100", "fillrandom in batches of 100", 1, false, fillBatches),
		{Name: "pipelined", Group: Writes, Acts: []Act{{Clients: 1, Steps: []Step{
			{Name: "pipelined", About: "fillrandom by one client that does not wait for each write", Settle: true, Pipelined: true, Do: fillPipelined},
		}}}},
		single("fillsync-1", "random writes, each fsynced, 1 client", 1, true, fillSync(1)),
		single("fillsync-8", "random writes, each fsynced, 8 clients", 8, true, fillSync(8)),
		single("fillsync-64", "random writes, each fsynced, 64 clients", 64, true, fillSync(64)),
		readSection(),
		firstSeeks("first-seeks", "100,000 seeks of a random key and 10 next, right after a random fill, all by one iterator", firstSeeksOfOne),
		firstSeeks("first-seeks-each", "the same, each seek by an iterator of its own", firstSeeksOfMany),
		queueSection(),
		ycsbSection(),
		openSection(),
		recoverySection(),
		coldSection(),
		{Name: "values-1k", Group: Writes, ValueBytes: 1024, Acts: []Act{{Clients: 1, Steps: []Step{
			{Name: "fillrandom-1k", About: "fillrandom with values of 1 KiB, the same number of bytes", Settle: true, Do: fill(1, random, 0)},
		}}}},
		{Name: "values-1k-read", Group: Reads, ValueBytes: 1024, Acts: []Act{{Clients: 1, Steps: []Step{
			prepare, waitSettled, warm,
			{Name: "repeated-scan-1k", About: "everything in order, values of 1 KiB", Do: scanForward},
			{Name: "readrandom-1k", About: "random gets, values of 1 KiB", Do: readRandom(1, 1)},
		}}}},
		{Name: "sustained", Group: Writes, Big: true, FullOnly: true, Acts: []Act{{Clients: 1, Steps: []Step{
			{Name: "sustained", About: "fillrandom with as many entries as cold reads have", Settle: true, Do: fill(1, random, 0)},
		}}}},
	}
}

func readSection() Section {
	return Section{Name: "read", Group: Reads, Acts: []Act{{Clients: 1, Steps: []Step{
		prepare,
		{Name: "first-scan", About: "everything in order, right after a random fill", Do: scanForward},
		waitSettled,
		warm,
		{Name: "repeated-scan", About: "everything in order, settled and cached", Do: scanForward},
		{Name: "reverse-scan", About: "everything in reverse order", Do: scanReverse},
		{Name: "seek-10", About: "seek a random key, then 10 next", Do: seek(10)},
		{Name: "seek-100", About: "seek a random key, then 100 next", Do: seek(100)},
		{Name: "readrandom-1", About: "random gets, cached, 1 client", Do: readRandom(1, 1)},
		{Name: "readrandom-2", About: "random gets, cached, 2 clients", Do: readRandom(2, 1)},
		{Name: "readhot", About: "random gets of one entry in a hundred", Do: readRandom(1, 100)},
		{Name: "readmissing", About: "gets of absent keys between existing ones", Do: readMissing},
		{Name: "read-vs-writer", About: "random gets by 2 clients while one writer overwrites 200,000 entries a second", Do: readWhileWriting},
		{Name: "delete", About: "deletes 99 of 100 entries, batches of 100", Do: deleteMost},
		{Name: "tombstone-scan", About: "everything in order right after that, per entry that was there", Do: scanTombstones},
	}}}}
}

// firstSeeks is what a program meets that asks as soon as it has loaded: nothing is
// settled or cached.
func firstSeeks(name, about string, do func(*Run) error) Section {
	return Section{Name: name, Group: Reads, Acts: []Act{{Clients: 1, Steps: []Step{
		prepare,
		{Name: name, About: about, Do: do},
	}}}}
}

func queueSection() Section {
	return Section{Name: "queue", Group: Mixed, MaxEntries: queueElements, Acts: []Act{{Clients: 1, Steps: []Step{
		{Name: "load", Do: loadInOrder},
		{Name: "queue", About: "takes the first of 500,000 elements until none is left: new iterator, first, delete, close", Tenths: true, Do: drainQueue},
	}}}}
}

func ycsbSection() Section {
	return Section{Name: "ycsb", Group: Mixed, Acts: []Act{{Clients: ycsbClients, Steps: []Step{
		prepare, waitSettled, warm,
		{Name: "ycsb-a", About: "half reads, half updates", Do: ycsbUpdate(50)},
		{Name: "ycsb-b", About: "95 % reads, 5 % updates", Do: ycsbUpdate(95)},
		{Name: "ycsb-c", About: "reads", Do: ycsbUpdate(100)},
		{Name: "ycsb-f", About: "half reads, half read-modify-write", Do: ycsbF},
		{Name: "ycsb-d", About: "95 % reads of what is newest, 5 % inserts", Do: ycsbD},
		{Name: "ycsb-e", About: "95 % scans of up to 100 entries, 5 % inserts", Do: ycsbE},
	}}}}
}

func openSection() Section {
	return Section{Name: "open", Group: Opens, Acts: []Act{
		{Clients: 1, Steps: []Step{prepare, waitSettled}},
		{Clients: 1, Closed: true, Steps: []Step{
			{Name: "open", About: "open after a clean close, and one get", Timed: true, Do: openClean},
		}},
	}}
}

func recoverySection() Section {
	return Section{Name: "recovery", Group: Opens, MaxEntries: walEntries, Acts: []Act{
		{Clients: 1, Crash: true, Steps: []Step{{Name: "fill the log", Do: fillLog}}},
		{Clients: 1, Closed: true, Steps: []Step{
			{Name: "recovery", About: "open after a process ended with a log not yet in tables, and one get", Timed: true, Do: recoverLog},
			{Name: "verify", Do: verifyAll},
		}},
	}}
}

func coldSection() Section {
	return Section{Name: "cold", Group: Reads, Big: true, Acts: []Act{
		{Clients: 1, Steps: []Step{prepare, waitSettled}},
		{Clients: 1, Closed: true, Cold: true, Steps: []Step{
			{Name: "drop the page cache", Do: dropCaches},
			{Name: "readcold", About: "random gets with a small cache, nothing in the page cache", Do: readRandom(1, 1)},
		}},
	}}
}
