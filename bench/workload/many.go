package workload

import (
	"runtime/debug"

	"lsmdb/bench/engine"
	"lsmdb/bench/measure"
)

// Several is the group of workloads with several databases in one process.
const Several = "many databases"

// How many databases there are, fewer in small runs, and who uses the busy ones.
const (
	idleDatabases      = 500
	busyDatabases      = 32
	entriesPerDatabase = 1000 // at least, of Scale.Entries
	busyClients        = 8
	busyLimit          = "1GiB"
)

// databases returns how many databases an act has; 0: one, in the directory itself.
func (a Act) databases(scale Scale) int {
	return min(a.Databases, max(2, int(scale.Entries/entriesPerDatabase)))
}

// Names of what workloads with several databases note.
const (
	ResidentEach  = "resident_kb_per_database"
	CollectedEach = "resident_kb_per_database_after_collection"
	DiskEach      = "disk_kb_per_database"
	Collector     = "collector_percent_of_processor_time"
)

// oneEachSection shows what a database costs that hardly holds anything.
func oneEachSection() Section {
	return Section{Name: "databases-idle", Group: Several, Acts: []Act{{Clients: 1, Closed: true, Databases: idleDatabases, Steps: []Step{
		{Name: "one-put-each", About: "opens 500 databases, with one put each", Notes: []string{ResidentEach, CollectedEach, DiskEach}, Do: onePutEach},
	}}}}
}

func onePutEach(r *Run) error {
	before := measure.ResidentMemory()
	many := engine.Many{}
	err := r.clients(1, int64(r.many), func(c *Client, i int64) (bool, error) {
		opened, err := many.Open(r.kind, r.options)
		if err != nil {
			return false, err
		}
		many = append(many, opened)
		r.Engine = many
		c.key = r.Data.Key(c.key, i)
		c.userBytes += int64(KeyBytes + r.Data.ValueBytes)
		return true, opened.Put(c.key, r.Data.Value(i, 0))
	})
	if err != nil {
		return err
	}
	each := 1024 * float64(len(many))
	r.note(ResidentEach, (float64(measure.ResidentMemory())-float64(before))/each)
	debug.FreeOSMemory()
	r.note(CollectedEach, (float64(measure.ResidentMemory())-float64(before))/each)
	disk, err := measure.DirectoryBytes(r.options.Dir)
	if err != nil {
		return err
	}
	r.note(DiskEach, float64(disk)/each)
	return r.getFromEach(many)
}

// getFromEach finds the only entry of each database.
func (r *Run) getFromEach(many engine.Many) error {
	c := &Client{}
	for at, e := range many {
		if err := r.getFrom(e, c, int64(at), 0); err != nil {
			return err
		}
	}
	return nil
}

// busySection has several databases that share little memory: less than their memtables
// may take.
func busySection() Section {
	return Section{Name: "databases-busy", Group: Several, Big: true, Needs: engine.Memtables, Acts: []Act{{
		Clients: busyClients, Databases: busyDatabases, MemoryLimit: busyLimit, Steps: []Step{
			{Name: "busy-fill", About: "fillrandom by 8 clients into 32 databases, GOMEMLIMIT=1GiB", Notes: []string{Collector}, Do: collected(fillAll)},
			{Name: "busy-mix", About: "half gets, half puts by 8 clients on these", Notes: []string{Collector}, Do: collected(getOrPut)},
		},
	}}}
}

// fillAll takes as long as it takes: what follows counts on every entry.
func fillAll(r *Run) error {
	defer r.uncapped()()
	return fill(busyClients, random, 0)(r)
}

// getOrPut is half gets, half puts, each after the one before.
func getOrPut(r *Run) error {
	return r.clients(busyClients, 0, func(c *Client, i int64) (bool, error) { return true, getOrPutAny(r, c, i) })
}

// collected notes how much of the processor time the collector takes.
func collected(do func(*Run) error) func(*Run) error {
	return func(r *Run) error {
		collector, before := measure.CollectorTime(), measure.Now()
		if err := do(r); err != nil {
			return err
		}
		took := measure.CollectorTime() - collector
		used := measure.Now().Sub(before)
		r.note(Collector, 100*float64(took)/float64(max(used.CPU, 1)))
		return nil
	}
}
