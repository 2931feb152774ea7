package workload

// Axis is what grows from one measured point to the next.
type Axis string

// Axes of growth.
const (
	ByEntries Axis = "entries"
	ByClients Axis = "clients"
)

// Point returns where on the axis a result lies.
func (a Axis) Point(r Result) int64 {
	switch a {
	case ByEntries:
		return r.Entries
	case ByClients:
		return int64(r.Clients)
	}
	return 0
}

// GrowthSections returns what is measured at several sizes or with several numbers
// of clients, in the order of the report.
func GrowthSections() []Section {
	return []Section{
		{Name: "size-fill", Group: Writes, Axis: ByEntries, Acts: []Act{{Clients: 1, Steps: []Step{
			{Name: "fillrandom", About: "every entry once, in random order, 1 client", Settle: true, Do: fill(1, random, 0)},
		}}}},
		{Name: "size-read", Group: Reads, Axis: ByEntries, Acts: []Act{{Clients: 1, Steps: []Step{
			prepare, waitSettled, warm,
			{Name: "scan", About: "everything in order, settled, 1 client", Do: scanForward},
			{Name: "seek-10", About: "seek a random key, then 10 next, 1 client", Do: seek(10)},
			{Name: "readrandom", About: "random gets, 1 client", Do: readRandom(1, 1)},
			{Name: "readmissing", About: "gets of absent keys between existing ones, 1 client", Do: readMissing},
		}}}},
		{Name: "clients-fill", Group: Writes, Axis: ByClients, Acts: []Act{{Steps: []Step{
			{Name: "fillrandom", About: "every entry once, in random order", Settle: true, PerCount: true, Do: byCount(fillBy)},
		}}}},
		{Name: "clients-sync", Group: Synced, Axis: ByClients, Acts: []Act{{Sync: true, Steps: []Step{
			{Name: "fillsync", About: "random writes, each fsynced", PerCount: true, Do: byCount(fillSync)},
		}}}},
		{Name: "clients-read", Group: Reads, Axis: ByClients, Shared: true, Acts: []Act{{Steps: []Step{
			prepare, waitSettled, warm,
			{Name: "readrandom", About: "random gets", PerCount: true, Do: byCount(func(n int) func(*Run) error { return readRandom(n, 1) })},
		}}}},
	}
}

func fillBy(clients int) func(*Run) error { return fill(clients, random, 0) }

// byCount leaves the number of clients to the run.
func byCount(with func(clients int) func(*Run) error) func(*Run) error {
	return func(r *Run) error { return with(r.count)(r) }
}

// Scales returns the work of a growth section, one scale per turn: sizes one by one;
// numbers of clients one by one where they write, together where one database serves
// all.
func (s Section) Scales(base Scale, sizes []int64, counts []int) []Scale {
	var scales []Scale
	switch {
	case s.Axis == ByEntries:
		for _, entries := range sizes {
			scale := base
			scale.Entries = entries
			scales = append(scales, scale)
		}
	case s.Shared && len(counts) > 0:
		base.ClientCounts = counts
		scales = append(scales, base)
	default:
		for _, count := range counts {
			scale := base
			scale.ClientCounts = []int{count}
			scales = append(scales, scale)
		}
	}
	return scales
}
