package workload

// What a program meets that asks as soon as it has loaded: nothing was read before, and
// nobody waits for what the engine still does in the background.

// firstGetCount is how many gets count as the first ones.
const firstGetCount = 100_000

// unsettledSections are the rows of the sections read and ycsb without settle and warm. Each
// begins with a load of its own, but for YCSB and the second scan: they go on where those
// before them left the database.
func unsettledSections() []Section {
	return []Section{
		unsettled(Reads, 1, Step{Name: "first-gets", About: "100,000 random gets, right after a random fill", Do: firstGets}),
		unsettled(Reads, 1, Step{Name: "unsettled-get", About: "random gets, 1 client, from right after a random fill", Do: readRandom(1, 1)}),
		unsettled(Reads, 1, Step{Name: "unsettled-hot", About: "the same of one entry in a hundred", Do: readRandom(1, 100)}),
		unsettled(Reads, 1, Step{Name: "unsettled-missing", About: "gets of absent keys, from right after a random fill", Do: readMissing}),
		unsettled(Reads, 1, Step{Name: "unsettled-seek-10", About: "seeks of a random key and 10 next, from right after a random fill", Do: seek(10)}),
		unsettled(Reads, 1,
			Step{Name: "unsettled-scan", About: "everything in order, right after a random fill", Do: scanForward},
			Step{Name: "unsettled-scan-again", About: "the same right after that", Do: scanForward}),
		unsettled(Mixed, ycsbClients,
			Step{Name: "unsettled-ycsb-a", About: "half reads, half updates, from right after a random fill", Do: ycsbUpdate(50)},
			Step{Name: "unsettled-ycsb-b", About: "95 % reads, 5 % updates, right after that", Do: ycsbUpdate(95)},
			Step{Name: "unsettled-ycsb-c", About: "reads, right after that", Do: ycsbUpdate(100)},
			Step{Name: "unsettled-ycsb-f", About: "half reads, half read-modify-write, right after that", Do: ycsbF},
			Step{Name: "unsettled-ycsb-d", About: "95 % reads of what is newest, 5 % inserts, right after that", Do: ycsbD},
			Step{Name: "unsettled-ycsb-e", About: "95 % scans of up to 100 entries, 5 % inserts, right after that", Do: ycsbE}),
	}
}

// unsettled is a section of steps on a database that has just been filled, named after the
// first of them.
func unsettled(group string, clients int, steps ...Step) Section {
	return Section{Name: steps[0].Name, Group: group, Acts: []Act{{Clients: clients, Steps: append([]Step{prepare}, steps...)}}}
}

// firstGets reads random entries, fewer in small databases.
func firstGets(r *Run) error {
	return r.clients(1, min(firstGetCount, r.Data.Entries), func(c *Client, i int64) (bool, error) {
		return true, r.get(c, c.rng.Int64N(r.Data.Entries), i)
	})
}
